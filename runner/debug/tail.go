package debug

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"
)

// maxTail is how much of a pipe tail keeps. Of a file it keeps nothing.
const maxTail = 1 << 20

func tail(c *call) int {
	c.args = expandCount(c.args)
	o, operands, ok := c.options("fq", "nc")
	if !ok {
		return exitUsage
	}
	e, ok := c.extent(o, true)
	if !ok {
		return exitUsage
	}
	if o.has('f') && len(operands) != 1 {
		return c.usageError("-f follows one file")
	}
	title := c.titles(len(operands) > 1 && !o.has('q'))
	c.inputs(operands, func(name string, r io.Reader) error {
		title(name)
		if err := c.tail(r, e); err != nil || !o.has('f') {
			return err
		}
		if f, ok := r.(*os.File); ok {
			return c.follow(name, f)
		}
		return nil
	})
	return 0
}

func (c *call) tail(r io.Reader, e extent) error {
	if e.fromStart {
		return c.tailFromStart(r, e)
	}
	if f, ok := r.(*os.File); ok {
		at, ok, err := tailOffset(f, e)
		if err != nil {
			return err
		}
		if ok {
			if _, err := f.Seek(at, io.SeekStart); err != nil {
				return err
			}
			return c.stream(f, c.write)
		}
	}
	return c.tailPipe(r, e)
}

// tailFromStart prints from the nth line or byte on, counted from one.
func (c *call) tailFromStart(r io.Reader, e extent) error {
	skip := max(0, e.n-1)
	return c.stream(r, func(b []byte) {
		at := 0
		if e.bytes {
			at = int(min(skip, int64(len(b))))
			skip -= int64(at)
		} else {
			at, skip = skipLines(b, skip)
		}
		c.out.Write(b[at:])
	})
}

// tailOffset finds where the end of a file begins. It is not ok for what
// cannot be read backwards: pipes and devices, and files of the kernel, whose
// size says nothing.
func tailOffset(f *os.File, e extent) (at int64, ok bool, err error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	size := fi.Size()
	if !fi.Mode().IsRegular() || size == 0 {
		return 0, false, nil
	}
	last := make([]byte, 1)
	if n, err := f.ReadAt(last, size-1); n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return 0, false, nil
	}
	if e.bytes {
		return max(0, size-e.n), true, nil
	}
	if e.n == 0 {
		return size, true, nil
	}
	// The newline that ends the file begins no line.
	left := e.n
	end := size
	if last[0] == '\n' {
		end--
	}
	b := make([]byte, blockSize)
	for end > 0 {
		begin := max(0, end-blockSize)
		block := b[:end-begin]
		if _, err := f.ReadAt(block, begin); err != nil {
			return 0, false, err // it shrinks meanwhile
		}
		for i := bytes.LastIndexByte(block, '\n'); i >= 0; i = bytes.LastIndexByte(block[:i], '\n') {
			if left--; left == 0 {
				return begin + int64(i) + 1, true, nil
			}
		}
		end = begin
	}
	return 0, true, nil
}

// tailPipe keeps the last maxTail bytes of what it reads.
func (c *call) tailPipe(r io.Reader, e extent) error {
	var kept []byte
	dropped := false
	err := c.stream(r, func(b []byte) {
		kept = append(kept, b...)
		if len(kept) > 2*maxTail {
			kept = append(kept[:0], kept[len(kept)-maxTail:]...)
			dropped = true
		}
	})
	at, complete := tailStart(kept, e)
	c.out.Write(kept[at:])
	if err == nil && !complete && dropped {
		return errors.New("too long for a pipe; some of the beginning is missing")
	}
	return err
}

// tailStart finds where the end of b begins. It is not complete when b has too
// little.
func tailStart(b []byte, e extent) (at int, complete bool) {
	if e.bytes {
		return int(max(0, int64(len(b))-e.n)), int64(len(b)) >= e.n
	}
	if e.n == 0 || len(b) == 0 {
		return len(b), true
	}
	left := e.n
	for i := bytes.LastIndexByte(b[:len(b)-1], '\n'); i >= 0; i = bytes.LastIndexByte(b[:i], '\n') {
		if left--; left == 0 {
			return i + 1, true
		}
	}
	return 0, false
}

// follow prints what a file grows by until nobody reads the output or the
// process is ended. It looks again and again, because the kernel tells of
// changes only on some file systems, and only of those made on this node.
func (c *call) follow(name string, f *os.File) error {
	sized := false // the kernel's files always claim to be empty
	for !c.broken() {
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil // a pipe, which has been read to its end
		}
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		sized = sized || fi.Size() > 0
		if sized && fi.Size() < at {
			c.complainText(printable(name) + ": truncated")
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
		if err := c.stream(f, c.write); err != nil {
			return err
		}
		time.Sleep(c.poll)
	}
	return nil
}
