package debug

import (
	"bytes"
	"errors"
	"io"
)

// extent is how much head and tail print.
type extent struct {
	bytes     bool  // count bytes, not lines
	n         int64 // how many
	fromStart bool  // tail: begin with the nth instead of n before the end
}

// extent reads the options of head and tail.
func (c *call) extent(o options, signs bool) (extent, bool) {
	if o.has('n') && o.has('c') {
		c.usageError("only one of -n and -c")
		return extent{}, false
	}
	e := extent{n: 10}
	value := "10"
	for _, letter := range []byte("nc") {
		if o.has(letter) {
			value, e.bytes = o.values[letter], letter == 'c'
		}
	}
	digits := value
	if signs && value != "" && (value[0] == '+' || value[0] == '-') {
		e.fromStart = value[0] == '+'
		digits = value[1:]
	}
	n, ok := parseCount(digits)
	if !ok {
		c.usageError("invalid number " + printable(value))
		return extent{}, false
	}
	e.n = n
	return e, true
}

// expandCount turns the old form -20 into -n 20.
func expandCount(args []string) []string {
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0][1] >= '0' && args[0][1] <= '9' {
		return append([]string{"-n", args[0][1:]}, args[1:]...)
	}
	return args
}

func head(c *call) int {
	c.args = expandCount(c.args)
	o, operands, ok := c.options("q", "nc")
	if !ok {
		return exitUsage
	}
	e, ok := c.extent(o, false)
	if !ok {
		return exitUsage
	}
	title := c.titles(len(operands) > 1 && !o.has('q'))
	c.inputs(operands, func(name string, r io.Reader) error {
		title(name)
		return c.head(r, e)
	})
	return 0
}

// titles returns a function that prints a file's name above its contents.
func (c *call) titles(wanted bool) func(name string) {
	blank := ""
	return func(name string) {
		if wanted {
			c.print(blank, "==> ", printable(name), " <==\n")
			blank = "\n"
		}
	}
}

func (c *call) head(r io.Reader, e extent) error {
	left := e.n
	b := make([]byte, blockSize)
	for left > 0 {
		want := b
		if e.bytes && left < int64(len(b)) {
			want = b[:left]
		}
		n, err := r.Read(want)
		take := n
		if e.bytes {
			left -= int64(n)
		} else {
			take, left = skipLines(b[:n], left)
		}
		c.out.Write(b[:take])
		if c.out.Flush() != nil || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// skipLines returns where b goes on after its first lines, and how many of
// those are left when b has fewer.
func skipLines(b []byte, lines int64) (at int, left int64) {
	for lines > 0 {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return len(b), lines
		}
		at += i + 1
		lines--
	}
	return at, 0
}
