package debug

import (
	"bytes"
	"errors"
	"io"
)

// blockSize is what is read at once.
const blockSize = 32 << 10

// inputs calls do with each operand's file, or with standard input for "-" and
// for no operands at all. It reports the errors and goes on with the next one.
func (c *call) inputs(operands []string, do func(name string, r io.Reader) error) {
	if len(operands) == 0 {
		operands = []string{"-"}
	}
	for _, name := range operands {
		if c.broken() {
			return
		}
		if err := c.input(name, do); err != nil && !c.broken() {
			c.complain(name, err)
		}
	}
}

func (c *call) input(name string, do func(name string, r io.Reader) error) error {
	if name == "-" {
		return do("standard input", c.stdin)
	}
	f, err := open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(name, f)
}

func cat(c *call) int {
	o, operands, ok := c.options("nu", "")
	if !ok {
		return exitUsage
	}
	print := c.write
	if o.has('n') {
		print = c.numberLines()
	}
	c.inputs(operands, func(_ string, r io.Reader) error { return c.stream(r, print) })
	return 0
}

// numberLines returns a function that prints blocks with a number before each
// line. It counts through all files.
func (c *call) numberLines() func([]byte) {
	var number uint64
	midLine := false
	return func(b []byte) {
		for len(b) > 0 {
			if !midLine {
				number++
				c.print(padLeft(utoa(number), 6), "\t")
			}
			end := 1 + bytes.IndexByte(b, '\n')
			midLine = end == 0
			if midLine {
				end = len(b)
			}
			c.out.Write(b[:end])
			b = b[end:]
		}
	}
}

func (c *call) write(b []byte) { c.out.Write(b) }

// stream calls do with every block, and prints what do has written before it
// waits for the next. It ends, without an error of its own, when nobody reads
// the output.
func (c *call) stream(r io.Reader, do func([]byte)) error {
	b := make([]byte, blockSize)
	for {
		n, err := r.Read(b)
		do(b[:n])
		if c.out.Flush() != nil || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
