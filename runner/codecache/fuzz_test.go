package codecache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FuzzParseMeta holds that an accepted meta.json names files of its own
// directory alone, in bounds, and says nothing that is lost when it is written.
func FuzzParseMeta(f *testing.F) {
	m := metaOf(testKey("app"), engineDir, []metaFile{{codeFile, 4, 5}}, time.Unix(1, 0))
	b, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"dir":"..","files":[{"name":"../x","size":-1}]}`))
	f.Add([]byte(`[]`))
	f.Add(append(slices.Clone(b), b...))
	f.Add(bytes.ReplaceAll(b, []byte(`"size":4`), []byte(`"size":9223372036854775807`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMeta(b)
		if err != nil {
			return
		}
		if strings.Contains(m.Dir, "/") || m.Dir == ".." || len(m.Files) == 0 || len(m.Files) > maxFiles {
			t.Errorf("%+v", m)
		}
		var total int64
		for _, f := range m.Files {
			total += f.Size
			if strings.ContainsAny(f.Name, "/.") || f.Size <= 0 || total > maxSize || total <= 0 {
				t.Errorf("%+v", m)
			}
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := parseMeta(again); err != nil || !slices.Equal(same.Files, m.Files) || same.Dir != m.Dir {
			t.Errorf("written again it is %s: %v", again, err)
		}
	})
}

// damages are what may happen to an entry on a disk. n selects a file or a byte.
// They open FIFOs and follow links, so that what has either is not damaged further.
var damages = []func(dir string, n int, text []byte) error{
	func(dir string, n int, text []byte) error { // other contents of the same length
		name := somewhere(dir, n)
		if st, err := os.Lstat(name); err != nil || !st.Mode().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		if err == nil && len(b) > 0 {
			copy(b[n%len(b):], text)
			err = os.WriteFile(name, b, fileMode)
		}
		return err
	},
	func(dir string, n int, text []byte) error {
		return errors.Join(removeAll(unix.AT_FDCWD, somewhere(dir, n)), os.WriteFile(somewhere(dir, n), text, fileMode))
	},
	func(dir string, n int, _ []byte) error { return os.Truncate(somewhere(dir, n), int64(n)) },
	func(dir string, n int, _ []byte) error { return removeAll(unix.AT_FDCWD, somewhere(dir, n)) },
	func(dir string, n int, text []byte) error {
		return errors.Join(removeAll(unix.AT_FDCWD, somewhere(dir, n)), os.Symlink(string(text), somewhere(dir, n)))
	},
	func(dir string, n int, _ []byte) error {
		return errors.Join(removeAll(unix.AT_FDCWD, somewhere(dir, n)), unix.Mkfifo(somewhere(dir, n), fileMode))
	},
	func(dir string, n int, _ []byte) error {
		return errors.Join(removeAll(unix.AT_FDCWD, somewhere(dir, n)), os.Mkdir(somewhere(dir, n), dirMode))
	},
	func(dir string, n int, text []byte) error { // a stranger beside it
		return os.WriteFile(filepath.Join(filepath.Dir(somewhere(dir, n)), fmt.Sprintf("stranger-%x", text)), text, fileMode)
	},
	func(dir string, n int, _ []byte) error { return os.Chmod(somewhere(dir, n), os.FileMode(n)&0o777) },
	func(dir string, n int, _ []byte) error { return os.Link(somewhere(dir, n), dir+"/../linked") },
	func(dir string, n int, _ []byte) error { return os.Lchown(somewhere(dir, n), n, n) },
}

// plain says whether an entry has nothing but files and directories.
func plain(dir string) bool {
	return filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !d.Type().IsRegular() {
			err = os.ErrInvalid
		}
		return err
	}) == nil
}

// somewhere is one of the names of an entry.
func somewhere(dir string, n int) string {
	names := []string{"code/" + engineDir + "/" + codeFile, "meta.json", "code/" + engineDir, "code", "."}
	return filepath.Join(dir, names[n%len(names)])
}

// plant is store without waiting for the disk.
func plant(t *testing.T, c *Cache, k Key, code []byte) string {
	t.Helper()
	dir := filepath.Join(c.root, k.String())
	meta, err := json.Marshal(metaOf(k, engineDir, []metaFile{{codeFile, int64(len(code)), crc32.Checksum(code, crc32.MakeTable(crc32.Castagnoli))}}, time.Unix(1, 0)))
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "code", engineDir), dirMode)
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "meta.json"), meta, fileMode),
		os.WriteFile(filepath.Join(dir, "code", engineDir, codeFile), code, fileMode))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// FuzzLookup damages an entry. What is found in the cache afterwards is the code
// that was stored; otherwise the entry is gone, and nothing but the entry.
func FuzzLookup(f *testing.F) {
	for i := range damages {
		f.Add(byte(i), 0, []byte("x"), byte(0), 0, []byte(nil))
		f.Add(byte(i), 1, []byte("../../../outside"), byte(3), 2, []byte("x"))
	}
	code := bytes.Repeat([]byte("machine code"), 40)
	f.Fuzz(func(t *testing.T, one byte, n int, text []byte, two byte, m int, more []byte) {
		top := t.TempDir()
		root := filepath.Join(top, "cache")
		outside := filepath.Join(top, "outside")
		if err := os.WriteFile(outside, code, fileMode); err != nil {
			t.Fatal(err)
		}
		c := open(t, root)
		k := testKey("app")
		other := plant(t, c, testKey("other"), code)
		dir := plant(t, c, k, code)
		_ = damages[int(one)%len(damages)](dir, n&0xffff, text)
		if two != one && plain(dir) {
			_ = damages[int(two)%len(damages)](dir, m&0xffff, more)
		}
		e, err := c.Lookup(k)
		switch {
		case err == nil:
			found, readErr := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s/%s", e.code.Fd(), engineDir, codeFile))
			if readErr != nil || !bytes.Equal(found, code) {
				t.Errorf("found %.40q, %v", found, readErr)
			}
			e.Close()
		case !errors.Is(err, ErrMiss):
			t.Errorf("neither found nor missing: %v", err)
		default:
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the damaged entry is still there: %v", err)
			}
		}
		if b, err := os.ReadFile(outside); err != nil || !bytes.Equal(b, code) {
			t.Errorf("a file outside is %.40q: %v", b, err)
		}
		if e, err := c.Lookup(testKey("other")); err != nil {
			t.Errorf("another entry, %s: %v", other, err)
		} else {
			e.Close()
		}
	})
}
