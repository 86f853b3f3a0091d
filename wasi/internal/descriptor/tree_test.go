package descriptor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// secret is what no guest may read.
const secret = "secret"

// world is a directory with a tree for the guest in it and a secret beside that.
//
//	outside/secret
//	inside/file, inside/dir/file, inside/dir/deep/
func world(t *testing.T) (inside string) {
	t.Helper()
	base := t.TempDir()
	for _, dir := range []string{"outside", "inside/dir/deep"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"outside/secret": secret, "inside/file": "file", "inside/dir/file": "dir/file"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(base, "inside")
}

// trees calls a test with each way of resolving paths and each kind of tree.
func trees(t *testing.T, test func(t *testing.T, inside string, table *Table, root *Descriptor)) {
	for _, inRoot := range []bool{false, true} {
		for _, walking := range []bool{false, true} {
			name := map[bool]string{false: "beneath", true: "in root"}[inRoot] + map[bool]string{false: "", true: " walking"}[walking]
			t.Run(name, func(t *testing.T) {
				inside := world(t)
				table, root := mount(t, inside, inRoot, walking)
				test(t, inside, table, root)
			})
		}
	}
}

func mount(t *testing.T, dir string, inRoot, walking bool) (*Table, *Descriptor) {
	t.Helper()
	tree, err := OpenTree(dir, inRoot, false)
	if err != nil {
		t.Fatal(err)
	}
	if !tree.openat2 && !walking {
		t.Skip("this kernel has no openat2")
	}
	tree.openat2 = !walking
	table := NewTable(100, 50)
	t.Cleanup(func() { table.CloseAll(); tree.Close() })
	root, e := table.AddTree(tree, "/")
	if e != 0 {
		t.Fatal(e)
	}
	return table, root
}

func path(t *testing.T, s string) *kernel.Path {
	t.Helper()
	p := &kernel.Path{}
	if e := p.Set([]byte(s)); e != 0 {
		t.Fatal(e)
	}
	return p
}

// read opens a file and returns its content.
func read(t *testing.T, table *Table, d *Descriptor, name string) (string, unix.Errno) {
	t.Helper()
	f, n, e := table.Open(d, path(t, name), unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if e != 0 {
		return "", e
	}
	defer func() { _ = table.Close(n) }()
	b := make([]byte, 100)
	size, e := f.Readv([]unix.Iovec{{Base: &b[0], Len: uint64(len(b))}})
	return string(b[:size]), e
}

func symlink(t *testing.T, target string, name ...string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(name...)); err != nil {
		t.Fatal(err)
	}
}

func TestNoPathLeadsOut(t *testing.T) {
	trees(t, func(t *testing.T, inside string, table *Table, root *Descriptor) {
		outside := filepath.Join(inside, "../outside")
		symlink(t, "../outside", inside, "up")
		symlink(t, "../../outside", inside, "dir/up")
		symlink(t, outside, inside, "absolute")
		symlink(t, outside+"/secret", inside, "absolute-file")
		symlink(t, "up/secret", inside, "chained")
		symlink(t, "/proc/self/root", inside, "magic-root")
		symlink(t, "/proc/self/cwd", inside, "magic-cwd")
		symlink(t, "loop", inside, "loop")
		dir, _, e := table.Open(root, path(t, "dir"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if e != 0 {
			t.Fatal(e)
		}
		for _, at := range []*Descriptor{root, dir} {
			for _, name := range []string{
				"..", "../", "../outside/secret", "../inside/../outside/secret", "dir/../../outside/secret", "./../outside/secret",
				"/", outside + "/secret", "/etc/passwd", "up", "up/", "up/secret", "dir/up/secret", "absolute/secret", "absolute-file",
				"chained", "magic-root" + outside + "/secret", "magic-cwd/tree.go", "loop", "deep/../../../outside/secret",
			} {
				if got, e := read(t, table, at, name); e == 0 && name != "up" && name != "up/" || got == secret {
					t.Errorf("open %s: %q", name, got)
				}
				var st unix.Stat_t
				var want unix.Stat_t
				if err := unix.Stat(outside+"/secret", &want); err != nil {
					t.Fatal(err)
				}
				if e := at.StatAt(path(t, name), true, &st); e == 0 && st.Ino == want.Ino && st.Dev == want.Dev {
					t.Errorf("stat %s finds the secret", name)
				}
			}
			for _, name := range []string{"../outside/new", "up/new", "dir/up/new", "absolute/new", "chained/new", "deep/../../../outside/new", "/new"} {
				_ = at.Mkdir(path(t, name), 0o777)
				_ = at.Symlink(path(t, "x"), path(t, name))
				_ = at.Rename(path(t, "file"), at, path(t, name))
				_ = at.Link(path(t, "file"), at, path(t, name))
				if _, n, e := table.Open(at, path(t, name), unix.O_CREAT|unix.O_WRONLY, 0o666); e == 0 {
					_ = table.Close(n)
				}
				_ = at.Unlink(path(t, filepath.Dir(name)+"/secret"), 0)
				_ = at.Unlink(path(t, filepath.Dir(name)), unix.AT_REMOVEDIR)
				_ = at.SetTimesAt(path(t, filepath.Dir(name)+"/secret"), true, &[2]unix.Timespec{})
			}
		}
		// A slash makes the kernel follow a link, which must not tell what there is.
		symlink(t, "../nowhere", inside, "gone")
		if there, gone := root.Link(path(t, "up/"), root, path(t, "x")), root.Link(path(t, "gone/"), root, path(t, "x")); there != gone {
			t.Errorf("linking what is outside: %v when it is there, %v when not", there, gone)
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Errorf("outside is %v now, %v", entries, err)
		}
		if st, err := os.Stat(outside + "/secret"); err != nil || st.ModTime().Unix() == 0 {
			t.Errorf("the secret was touched: %v, %v", st, err)
		}
		if _, err := os.Stat("/new"); err == nil {
			t.Error("/new was made")
		}
	})
}

func TestLinksInside(t *testing.T) {
	trees(t, func(t *testing.T, inside string, table *Table, root *Descriptor) {
		symlink(t, "dir/file", inside, "relative")
		symlink(t, "../file", inside, "dir/parent")
		symlink(t, "/dir/file", inside, "absolute")
		symlink(t, "/absolute", inside, "dir/absolute-chain")
		symlink(t, "../../../dir", inside, "dir/clamped")
		symlink(t, "nowhere", inside, "dangling")
		dir, _, e := table.Open(root, path(t, "dir/"), unix.O_RDONLY, 0)
		if e != 0 {
			t.Fatal(e)
		}
		refused := map[bool]unix.Errno{true: 0, false: unix.EPERM}[root.tree.InRoot]
		for _, c := range []struct {
			at   *Descriptor
			name string
			want string
			e    unix.Errno
		}{
			{root, "relative", "dir/file", 0},
			{root, "dir/parent", "file", 0},
			{root, "dir/deep/../parent", "file", 0},
			{root, "absolute", "dir/file", refused},
			{root, "dir/absolute-chain", "dir/file", refused},
			{root, "dir/clamped/file", "dir/file", refused},
			{dir, "absolute-chain", "dir/file", refused},
			{dir, "deep/../file", "dir/file", 0},
			{root, "dangling", "", unix.ENOENT},
			{root, "file/", "", unix.ENOTDIR},
			{root, "file/x", "", unix.ENOTDIR},
			{root, "relative/", "", unix.ENOTDIR},
			{root, "./dir/./file", "dir/file", 0},
		} {
			got, e := read(t, table, c.at, c.name)
			if c.e != 0 {
				c.want = ""
			}
			if got != c.want || e != c.e {
				t.Errorf("%s: %q, %v; want %q, %v", c.name, got, e, c.want, c.e)
			}
		}
		if _, _, e := table.Open(root, path(t, "relative"), unix.O_RDONLY|unix.O_NOFOLLOW, 0); e != unix.ELOOP {
			t.Errorf("a link that is not to be followed: %v", e)
		}
		if _, _, e := table.Open(root, path(t, "dangling"), unix.O_WRONLY|unix.O_CREAT, 0o666); e != 0 {
			t.Errorf("creating through a dangling link: %v", e)
		}
		if _, err := os.Stat(filepath.Join(inside, "nowhere")); err != nil {
			t.Error(err)
		}
		if _, _, e := table.Open(root, path(t, "relative"), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o666); e != unix.EEXIST {
			t.Errorf("O_EXCL on a link: %v", e)
		}
	})
}

// TestRenameRaces swaps a directory for a link to the outside, and moves another
// one out and in, while a guest opens files through them.
func TestRenameRaces(t *testing.T) {
	trees(t, func(t *testing.T, inside string, table *Table, root *Descriptor) {
		outside := filepath.Join(inside, "../outside")
		symlink(t, outside, inside, "link")
		symlink(t, "../outside/secret", inside, "entry")
		if err := os.WriteFile(filepath.Join(inside, "dir/secret"), []byte("harmless"), 0o644); err != nil {
			t.Fatal(err)
		}
		stop, done := make(chan struct{}), make(chan error)
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				err := errors.Join(
					unix.Renameat2(unix.AT_FDCWD, inside+"/entry", unix.AT_FDCWD, inside+"/file", unix.RENAME_EXCHANGE),
					unix.Renameat2(unix.AT_FDCWD, inside+"/dir", unix.AT_FDCWD, inside+"/link", unix.RENAME_EXCHANGE),
					os.Rename(inside+"/link/deep", outside+"/deep"), os.Rename(outside+"/deep", inside+"/link/deep"),
					unix.Renameat2(unix.AT_FDCWD, inside+"/dir", unix.AT_FDCWD, inside+"/link", unix.RENAME_EXCHANGE))
				if err != nil {
					done <- err
					return
				}
			}
		}()
		var opened int
		for begin := time.Now(); time.Since(begin) < 300*time.Millisecond; {
			for _, name := range []string{"file", "entry", "dir/secret", "dir/deep/../secret", "link/deep/../secret", "dir/deep/../../outside/secret", "dir/deep/../../../outside/secret"} {
				got, e := read(t, table, root, name)
				if got == secret {
					t.Fatalf("%s led out", name)
				}
				if e == 0 {
					opened++
				}
			}
		}
		close(stop)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if opened == 0 {
			t.Error("nothing was ever opened")
		}
	})
}

func TestReadOnlyTreesRefuseEveryChange(t *testing.T) {
	inside := world(t)
	table, root := mount(t, inside, true, false)
	root.tree.ReadOnly = true
	file, _, e := table.Open(root, path(t, "file"), unix.O_RDONLY, 0)
	if e != 0 {
		t.Fatal(e)
	}
	dir, _, e := table.Open(root, path(t, "dir"), unix.O_RDONLY, 0)
	if e != 0 {
		t.Fatal(e)
	}
	open := func(flags int) unix.Errno {
		_, _, e := table.Open(dir, path(t, "file"), flags, 0o666)
		return e
	}
	now := [2]unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	for what, e := range map[string]unix.Errno{
		"open for writing":  open(unix.O_WRONLY),
		"open for both":     open(unix.O_RDWR),
		"create":            open(unix.O_CREAT),
		"truncate":          open(unix.O_TRUNC),
		"mkdir":             dir.Mkdir(path(t, "x"), 0o777),
		"unlink":            dir.Unlink(path(t, "file"), 0),
		"rmdir":             dir.Unlink(path(t, "deep"), unix.AT_REMOVEDIR),
		"symlink":           dir.Symlink(path(t, "x"), path(t, "y")),
		"link":              dir.Link(path(t, "file"), dir, path(t, "y")),
		"rename":            dir.Rename(path(t, "file"), dir, path(t, "y")),
		"set times by path": dir.SetTimesAt(path(t, "file"), true, &now),
		"set times":         file.SetTimes(&now),
	} {
		if e != unix.EROFS {
			t.Errorf("%s: %v", what, e)
		}
	}
}
