package debug

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLsNames(t *testing.T) {
	inDir(t, map[string]string{
		"b": "", "a": "", ".hidden": "", "d/x": "", "d/e/y": "", "d/e/f/": "", "to-d": "-> d", "gone": "-> nowhere", "e sc\x1b[1m\n": "",
	})
	for _, test := range []struct {
		args, out, diag string
		code            int
	}{
		{args: "", out: "a\nb\nd\ne sc?[1m?\ngone\nto-d\n"},
		{args: "-1r .", out: "to-d\ngone\ne sc?[1m?\nd\nb\na\n"},
		{args: "-A", out: ".hidden\na\nb\nd\ne sc?[1m?\ngone\nto-d\n"},
		{args: "-a", out: ".\n..\n.hidden\na\nb\nd\ne sc?[1m?\ngone\nto-d\n"},
		{args: "-d", out: ".\n"},
		{args: "-d d b", out: "b\nd\n"},
		{args: "d", out: "e\nx\n"},
		{args: "to-d", out: "e\nx\n"},
		{args: "gone", out: "gone\n"},
		{args: "-d to-d", out: "to-d\n"},
		{args: "d b -a d/e", out: "b\n\nd:\n.\n..\ne\nx\n\nd/e:\n.\n..\nf\ny\n"},
		{args: "-R d", out: "d:\ne\nx\n\nd/e:\nf\ny\n\nd/e/f:\n"},
		{args: "-R d/", out: "d/:\ne\nx\n\nd/e:\nf\ny\n\nd/e/f:\n"},
		{args: "-R to-d d/e/f", out: "d/e/f:\n\nto-d:\ne\nx\n\nto-d/e:\nf\ny\n\nto-d/e/f:\n"},
		{args: "nowhere b x\x07", out: "b\n", code: 1,
			diag: "ls: nowhere: no such file or directory\nls: x?: no such file or directory\n"},
		{args: "b/", code: 1, diag: "ls: b/: not a directory\n"},
	} {
		c, _, _ := newCall(t, append([]string{"ls"}, strings.Fields(test.args)...)...)
		want(t, c, test.code, test.out, test.diag)
	}
}

func TestLsLong(t *testing.T) {
	dir := inDir(t, map[string]string{"old": "1234567890", "new": strings.Repeat("x", 1500), "link": "-> old", "dir/": "", "later": "1"})
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]time.Time{
		"old": noon.AddDate(-1, 0, 0), "new": noon.Add(-time.Hour), "link": noon.AddDate(0, 0, -27), "dir": noon.Add(-time.Minute),
		"later": noon.Add(time.Hour), "pipe": noon,
	} {
		ts := unix.NsecToTimespec(at.UnixNano())
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
	}
	uid, gid := os.Getuid(), os.Getgid()
	size := func(name string) (bytes, blocks int64) {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			t.Fatal(err)
		}
		return st.Size, st.Blocks
	}
	var kib int64
	for _, name := range []string{"old", "new", "link", "dir", "later", "pipe"} {
		_, blocks := size(name)
		kib += blocks
	}
	kib = (kib + 1) / 2
	width := 4
	dirSize, _ := size("dir")
	width = max(width, len(fmt.Sprint(dirSize)))
	run := func(out string, args ...string) {
		t.Helper()
		c, _, _ := newCall(t, append([]string{"ls"}, args...)...)
		write(t, c.etc, map[string]string{
			"passwd": fmt.Sprintf("# comment\nme:x:%d:0::/:\nagain:x:%d:0::/:\n", uid, uid),
			"group":  fmt.Sprintf("team:x:%d:\n", gid),
		})
		want(t, c, 0, out, "")
	}
	owner := "me team"
	lines := map[string]string{
		"dir":   fmt.Sprintf("drwxr-xr-x 2 %s %*d Jul  1 11:59 dir\n", owner, width, dirSize),
		"later": fmt.Sprintf("-rw-r--r-- 1 %s %*d Jul  1  2026 later\n", owner, width, 1),
		"link":  fmt.Sprintf("lrwxrwxrwx 1 %s %*d Jun  4 12:00 link -> old\n", owner, width, 3),
		"new":   fmt.Sprintf("-rw-r--r-- 1 %s %*d Jul  1 11:00 new\n", owner, width, 1500),
		"old":   fmt.Sprintf("-rw-r--r-- 1 %s %*d Jul  1  2025 old\n", owner, width, 10),
		"pipe":  fmt.Sprintf("prw------- 1 %s %*d Jul  1 12:00 pipe\n", owner, width, 0),
	}
	listing := func(names string) string {
		out := fmt.Sprintf("total %d\n", kib)
		for _, name := range strings.Fields(names) {
			out += lines[name]
		}
		return out
	}
	run(listing("dir later link new old pipe"), "-l")
	run(listing("later pipe dir new link old"), "-lt")
	run(listing("old link new dir pipe later"), "-ltr", dir)
	if dirSize > 1500 {
		run(listing("dir new old link later pipe"), "-lS")
	}
	run("-rw-r--r-- 1 me team 1.5K Jul  1 11:00 new\n-rw-r--r-- 1 me team   10 Jul  1  2025 old\n", "-lh", "new", "old")
	run(fmt.Sprintf("-rw-r--r-- 1 %d %d 10 Jul  1  2025 old\n", uid, gid), "-n", "old")
	run("lrwxrwxrwx 1 me team 3 Jun  4 12:00 link -> old\n", "-l", "link")
	var st unix.Stat_t
	if err := unix.Stat("old", &st); err != nil {
		t.Fatal(err)
	}
	run(fmt.Sprintf("%d old\n", st.Ino), "-i", "old")

	c, stdout, _ := newCall(t, "ls", "-ln", "/dev/null")
	if c.run(); !strings.HasPrefix(stdout.String(), "c") || !strings.Contains(stdout.String(), " 1, 3 ") {
		t.Errorf("a device is listed as %s", stdout)
	}
}

func TestLsKeepsABoundedNumberOfNames(t *testing.T) {
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprintf("f%02d", i)] = ""
	}
	inDir(t, files)
	for _, args := range [][]string{{"ls"}, {"ls", "-l"}} {
		c, stdout, stderr := newCall(t, args...)
		c.maxNames = 7
		if code := c.run(); code != 1 || stderr.String() != "ls: .: too many names; shown are 7\n" {
			t.Errorf("%d %q", code, stderr)
		}
		if n := strings.Count(stdout.String(), "f"); n != 7 {
			t.Errorf("%d names are shown", n)
		}
	}
}

func TestLsOfADirectoryThatMayNotBeSearched(t *testing.T) {
	inDir(t, map[string]string{"d/file": ""})
	if err := os.Chmod("d", 0o400); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod("d", 0o700)
	c, _, _ := newCall(t, "ls", "-l", "d")
	if os.Getuid() == 0 {
		asNobody(t, "d")
	}
	want(t, c, 1, "total 0\n?????????? ? ? ? ?            ? file\n", "ls: d/file: permission denied\n")
}

// asNobody gives dir to a user and lets the rest of the test look at files as
// that user: root may search every directory.
func asNobody(t *testing.T, dir string) {
	t.Helper()
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the fsuid is the thread's
	if err := unix.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Setfsuid(0)
		runtime.UnlockOSThread()
	})
}

func TestLsDoesNotFollowALoopOfLinks(t *testing.T) {
	inDir(t, map[string]string{"d/up": "-> ..", "loop": "-> loop"})
	c, _, _ := newCall(t, "ls", "-R", ".", "loop")
	want(t, c, 0, "loop\n\n.:\nd\nloop\n\n./d:\nup\n", "")
}

func TestAccountsOfAHostileImage(t *testing.T) {
	c, _, _ := newCall(t, "id")
	write(t, c.etc, map[string]string{
		"passwd": "a:x:1\nshort:1\n:x:2:\nb:x:99999999999:\nc:x:-1:\nevil\x1b[2J:x:3:0\nfirst:x:4:\nsecond:x:4:\n\n\x00",
	})
	for uid, name := range map[uint32]string{1: "a", 2: "2", 3: "evil?[2J", 4: "first", 5: "5", 1<<32 - 1: "4294967295"} {
		if got := c.user(uid); got != name {
			t.Errorf("user %d is %q, want %q", uid, got, name)
		}
	}

	// A pipe instead of a file must not be waited for.
	c, _, _ = newCall(t, "id")
	if err := syscall.Mkfifo(c.etc+"/passwd", 0o644); err != nil {
		t.Fatal(err)
	}
	if got := c.user(0); got != "0" {
		t.Error(got)
	}

	// Of an endless file only the beginning counts.
	c, _, _ = newCall(t, "id")
	line := "user:x:7:\n"
	write(t, c.etc, map[string]string{"passwd": strings.Repeat(line, maxAccounts/len(line)+1) + "late:x:8:\n"})
	if got := c.user(7) + c.user(8); got != "user8" {
		t.Error(got)
	}
}
