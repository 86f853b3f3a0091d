package debug

import (
	"bytes"
	"io"
)

// counts are what wc counts, in the order in which it prints them.
type counts struct{ lines, words, bytes uint64 }

// wc takes words to be separated by the white space of ASCII.
func wc(c *call) int {
	o, operands, ok := c.options("lwc", "")
	if !ok {
		return exitUsage
	}
	if len(o.flags) == 0 {
		o.flags = map[byte]bool{'l': true, 'w': true, 'c': true}
	}
	var total counts
	c.inputs(operands, func(name string, r io.Reader) error {
		var n counts
		inWord := false
		err := c.stream(r, func(b []byte) {
			n.bytes += uint64(len(b))
			n.lines += uint64(bytes.Count(b, []byte("\n")))
			if !o.has('w') {
				return
			}
			for _, ch := range b {
				space := ch == ' ' || ch >= '\t' && ch <= '\r'
				if !space && !inWord {
					n.words++
				}
				inWord = !space
			}
		})
		if err != nil {
			return err
		}
		if len(operands) == 0 {
			name = ""
		}
		c.printCounts(o, n, name)
		total.lines += n.lines
		total.words += n.words
		total.bytes += n.bytes
		return nil
	})
	if len(operands) > 1 {
		c.printCounts(o, total, "total")
	}
	return 0
}

func (c *call) printCounts(o options, n counts, name string) {
	width := 0
	if len(o.flags) > 1 {
		width = 7
	}
	separator := ""
	for _, column := range []struct {
		letter byte
		value  uint64
	}{{'l', n.lines}, {'w', n.words}, {'c', n.bytes}} {
		if o.has(column.letter) {
			c.print(separator, padLeft(utoa(column.value), width))
			separator = " "
		}
	}
	if name != "" {
		c.print(" ", printable(name))
	}
	c.print("\n")
}
