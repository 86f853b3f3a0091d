package vm

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// image writes an initial RAM disk: a cpio archive of the kernel's "newc" form
// (Documentation/driver-api/early-userspace/buffer-format.rst). The first error
// is kept and returned by close.
type image struct {
	out   *bufio.Writer
	made  map[string]bool
	inode int
	err   error
}

func newImage(w io.Writer) *image {
	return &image{out: bufio.NewWriterSize(w, 1<<20), made: map[string]bool{".": true}}
}

// file puts the file at from into the image. Programs bring the libraries that
// they are linked with.
func (im *image) file(name, from string) {
	fi, err := os.Stat(from)
	if err != nil {
		im.fail(err)
		return
	}
	f, err := os.Open(from)
	if err != nil {
		im.fail(err)
		return
	}
	defer f.Close()
	im.entry(name, fs.FileMode(0o100000)|fi.Mode().Perm(), fi.Size(), f)
	libraries, err := librariesOf(from)
	if err != nil {
		im.fail(err)
	}
	for _, l := range libraries {
		if !im.made[clean(l.name)] {
			im.file(l.name, l.path)
		}
	}
}

// text puts a file with that content into the image.
func (im *image) text(name, content string, perm fs.FileMode) {
	im.entry(name, 0o100000|perm, int64(len(content)), strings.NewReader(content))
}

// directory makes an empty directory with its parents.
func (im *image) directory(name string) {
	if name = clean(name); !im.made[name] {
		im.entry(name, 0o040755, 0, strings.NewReader(""))
	}
}

// tree puts a directory with all that is in it into the image.
func (im *image) tree(name, from string) {
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(from, p)
			im.file(path.Join(name, rel), p)
		}
		return err
	})
	im.fail(err)
}

func (im *image) fail(err error) {
	if im.err == nil {
		im.err = err
	}
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (im *image) entry(name string, mode fs.FileMode, size int64, content io.Reader) {
	name = clean(name)
	if im.made[name] {
		im.fail(fmt.Errorf("%s is twice in the image", name))
		return
	}
	if dir := path.Dir(name); !im.made[dir] {
		im.directory(dir)
	}
	im.made[name] = true
	im.header(name, mode, size)
	n, err := io.Copy(im.out, content)
	if err == nil && n != size {
		err = fmt.Errorf("%s changed while it was read", name)
	}
	im.fail(err)
	im.pad(int(size))
}

func (im *image) header(name string, mode fs.FileMode, size int64) {
	im.inode++
	fields := []any{im.inode, uint32(mode), 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0}
	fmt.Fprintf(im.out, "070701"+strings.Repeat("%08x", len(fields)), fields...)
	im.out.WriteString(name + "\x00")
	im.pad(110 + len(name) + 1) // the header has 110 bytes
}

// pad fills up to a multiple of four bytes.
func (im *image) pad(n int) {
	for ; n%4 != 0; n++ {
		im.out.WriteByte(0)
	}
}

func (im *image) close() error {
	im.header("TRAILER!!!", 0, 0)
	im.fail(im.out.Flush())
	return im.err
}
