package debug

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCat(t *testing.T) {
	inDir(t, map[string]string{"a": "one\ntwo", "b": "\nthree\n", "dir/": "", "-n": "dash\n"})
	for _, test := range []struct {
		args, stdin, out, diag string
		code                   int
	}{
		{args: "a b", out: "one\ntwo\nthree\n"},
		{args: "-n a b", out: "     1\tone\n     2\ttwo\n     3\tthree\n"},
		{args: "", stdin: "in", out: "in"},
		{args: "a - b", stdin: "-", out: "one\ntwo-\nthree\n"},
		{args: "-- -n", out: "dash\n"},
		{args: "b nowhere dir a", out: "\nthree\none\ntwo", code: 1,
			diag: "cat: nowhere: no such file or directory\ncat: dir: is a directory\n"},
		{args: "x\x1b]0;y", code: 1, diag: "cat: x?]0;y: no such file or directory\n"},
	} {
		c, _, _ := newCall(t, append([]string{"cat"}, strings.Fields(test.args)...)...)
		c.stdin = strings.NewReader(test.stdin)
		want(t, c, test.code, test.out, test.diag)
	}
}

// numbers is the lines 1 to n.
func numbers(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestHeadAndTail(t *testing.T) {
	// Larger than two blocks, so that tail has to go back over their borders.
	const many = 20000
	inDir(t, map[string]string{
		"many": numbers(1, many), "three": "1\n2\n3\n", "open": "1\n2\n3", "empty": "", "line": strings.Repeat("x", 3*blockSize),
	})
	for _, test := range []struct {
		args, out, diag string
		code            int
	}{
		{args: "head many", out: numbers(1, 10)},
		{args: "head -n 2 three", out: "1\n2\n"},
		{args: "head -2 three", out: "1\n2\n"},
		{args: "head -n2 three", out: "1\n2\n"},
		{args: "head -n 0 three"},
		{args: "head -n 9 open", out: "1\n2\n3"},
		{args: "head -n 15000 many", out: numbers(1, 15000)},
		{args: "head -c 3 three", out: "1\n2"},
		{args: "head -c 1K many", out: numbers(1, many)[:1024]},
		{args: "head -n 1 three open", out: "==> three <==\n1\n\n==> open <==\n1\n"},
		{args: "head -q -n 1 three open", out: "1\n1\n"},
		{args: "head -n 1 three nowhere", out: "==> three <==\n1\n", diag: "head: nowhere: no such file or directory\n", code: 1},
		{args: "tail many", out: numbers(many-9, many)},
		{args: "tail -n 2 three", out: "2\n3\n"},
		{args: "tail -2 open", out: "2\n3"},
		{args: "tail -n -2 open", out: "2\n3"},
		{args: "tail -n 3 three", out: "1\n2\n3\n"},
		{args: "tail -n 4 three", out: "1\n2\n3\n"},
		{args: "tail -n 0 three"},
		{args: "tail empty"},
		{args: "tail -n 1 line", out: strings.Repeat("x", 3*blockSize)},
		{args: "tail -n 15000 many", out: numbers(many-14999, many)},
		{args: "tail -n 30000 many", out: numbers(1, many)},
		{args: "tail -n +19999 many", out: "19999\n20000\n"},
		{args: "tail -n +0 three", out: "1\n2\n3\n"},
		{args: "tail -n +9 three"},
		{args: "tail -c 3 three", out: "\n3\n"},
		{args: "tail -c 99 three", out: "1\n2\n3\n"},
		{args: "tail -c +5 three", out: "3\n"},
		{args: "tail -n 1 three open", out: "==> three <==\n3\n\n==> open <==\n3"},
		{args: "tail nowhere", diag: "tail: nowhere: no such file or directory\n", code: 1},
		{args: "tail .", diag: "tail: .: is a directory\n", code: 1},
	} {
		argv := strings.Fields(test.args)
		c, _, _ := newCall(t, argv...)
		want(t, c, test.code, test.out, test.diag)

		// The same through a pipe, which cannot be read backwards.
		file := argv[len(argv)-1]
		if b, err := os.ReadFile(file); err == nil && !strings.Contains(test.out, "==>") && !strings.Contains(test.args, "-q") {
			c, _, _ := newCall(t, argv[:len(argv)-1]...)
			c.stdin = bytes.NewReader(b)
			want(t, c, test.code, test.out, test.diag)
		}
	}
}

func TestTailOfALongPipeKeepsWhatItCan(t *testing.T) {
	long := strings.Repeat("x", 5*maxTail) + "\nend\n"
	c, _, _ := newCall(t, "tail", "-n", "1")
	c.stdin = strings.NewReader(long)
	want(t, c, 0, "end\n", "")

	c, stdout, stderr := newCall(t, "tail", "-n", "2")
	c.stdin = strings.NewReader(long)
	if code := c.run(); code != 1 || stderr.String() != "tail: -: too long for a pipe; some of the beginning is missing\n" {
		t.Errorf("%d %q", code, stderr)
	}
	if n := stdout.Len(); n < maxTail || n > 2*maxTail || !strings.HasSuffix(long, stdout.String()) {
		t.Errorf("%d bytes", n)
	}
}

func TestTailReadsFilesOfTheKernelWhoseSizeSaysNothing(t *testing.T) {
	b, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Skip(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")
	c, _, _ := newCall(t, "tail", "-n", "1", "/proc/self/limits")
	want(t, c, 0, lines[len(lines)-1]+"\n", "")
}

func TestTailFollowsAFileThatGrowsAndIsTruncated(t *testing.T) {
	inDir(t, map[string]string{"log": "0\n1\n"})
	c, _, stderr := newCall(t, "tail", "-f", "-n", "1", "log")
	w := &brokenPipe{n: 3}
	w.after = func() {
		switch w.taken.String() {
		case "1\n":
			f, err := os.OpenFile("log", os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			f.WriteString("2\n")
			f.Close()
		case "1\n2\n":
			os.WriteFile("log", []byte("3\n"), 0o644)
		case "1\n2\n3\n":
			os.WriteFile("log", []byte("3\nnobody reads\n"), 0o644)
		}
	}
	c.out = bufio.NewWriter(w)
	if code := c.run(); code != 1 {
		t.Error(code)
	}
	if w.taken.String() != "1\n2\n3\n" || stderr.String() != "tail: log: truncated\ntail: write: broken pipe\n" {
		t.Errorf("printed %q, complained %q", &w.taken, stderr)
	}
}

func TestWc(t *testing.T) {
	inDir(t, map[string]string{"a": "one two\nthree\n", "b": "x", "long": strings.Repeat("w", blockSize+5) + " w"})
	for _, test := range []struct{ args, stdin, out string }{
		{args: "a", out: "      2       3      14 a\n"},
		{args: "-l a", out: "2 a\n"},
		{args: "-wc", stdin: " \t a\n", out: "      1       5\n"},
		{args: "-c a b", out: "14 a\n1 b\n15 total\n"},
		{args: "-w long", out: "2 long\n"},
	} {
		c, _, _ := newCall(t, append([]string{"wc"}, strings.Fields(test.args)...)...)
		c.stdin = strings.NewReader(test.stdin)
		want(t, c, 0, test.out, "")
	}
	c, _, _ := newCall(t, "wc", "-l", "nowhere", "b")
	want(t, c, 1, "0 b\n0 total\n", "wc: nowhere: no such file or directory\n")
}

func TestStat(t *testing.T) {
	inDir(t, map[string]string{"file": "12345", "link": "-> file", "empty": ""})
	uid, gid := os.Getuid(), os.Getgid()
	for name, mode := range map[string]uint32{"file": 0o640, "empty": 0o4755} {
		if err := unix.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	times := []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 1782907199, Nsec: 500}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, "file", times, 0); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat("file", &st); err != nil {
		t.Fatal(err)
	}
	accounts := map[string]string{
		"passwd": fmt.Sprintf("me:x:%d:0::/:\n", uid), "group": fmt.Sprintf("us:x:%d:\n", gid),
	}
	long := fmt.Sprintf("  File: file\n"+
		"  Size: 5         \tBlocks: %-10d IO Block: %-6d regular file\n"+
		"Device: %d,%d\tInode: %-11d Links: 1\n"+
		"Access: (0640/-rw-r-----)  Uid: (%5d/      me)   Gid: (%5d/      us)\n"+
		"Access: 1970-01-01 00:00:01.000000002 +0000\n"+
		"Modify: 2026-07-01 11:59:59.000000500 +0000\n"+
		"Change: %s\n",
		st.Blocks, st.Blksize, unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino, uid, gid, fullTime(st.Ctim))
	for _, test := range []struct {
		argv []string
		code int
		out  string
		diag string
	}{
		{argv: []string{"file"}, out: long},
		{argv: []string{"-c", "%n %s %a %A %F %u %U %g %G %h %i %Y %% 100%", "file"}, out: fmt.Sprintf(
			"file 5 640 -rw-r----- regular file %d me %d us 1 %d 1782907199 %% 100%%\n", uid, gid, st.Ino)},
		{argv: []string{"-c", "%x|%X|%y", "file"}, out: "1970-01-01 00:00:01.000000002 +0000|1|2026-07-01 11:59:59.000000500 +0000\n"},
		{argv: []string{"-c%A %F", "link", "empty"}, out: "lrwxrwxrwx symbolic link\n-rwsr-xr-x regular empty file\n"},
		{argv: []string{"-L", "-c", "%F", "link"}, out: "regular file\n"},
		{argv: []string{"-c", "%n", "nowhere", "link"}, code: 1, out: "link\n", diag: "stat: nowhere: no such file or directory\n"},
	} {
		c, _, _ := newCall(t, append([]string{"stat"}, test.argv...)...)
		write(t, c.etc, accounts)
		want(t, c, test.code, test.out, test.diag)
	}
	c, stdout, _ := newCall(t, "stat", "link", "/dev/null")
	c.run()
	for _, line := range []string{"  File: link -> file\n", " symbolic link\n", "     Device type: 1,3\n", " character special file\n"} {
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("no %q in\n%s", line, stdout)
		}
	}
}

func TestModes(t *testing.T) {
	for mode, text := range map[fileMode]string{
		unix.S_IFREG | 0o644: "-rw-r--r--", unix.S_IFDIR | 0o1777: "drwxrwxrwt", unix.S_IFDIR | 0o1776: "drwxrwxrwT",
		unix.S_IFREG | 0o6711: "-rws--s--x", unix.S_IFREG | 0o6600: "-rwS--S---", unix.S_IFIFO | 0o600: "prw-------",
		unix.S_IFSOCK | 0o755: "srwxr-xr-x", unix.S_IFBLK | 0o660: "brw-rw----", unix.S_IFCHR: "c---------", 0: "?---------",
	} {
		if got := mode.String(); got != text {
			t.Errorf("%o is %s, want %s", uint32(mode), got, text)
		}
	}
}

func TestHumanSizesRoundUp(t *testing.T) {
	// As printed by numfmt --to=iec --round=up.
	for n, text := range map[uint64]string{
		0: "0", 1023: "1023", 1024: "1.0K", 1025: "1.1K", 10 << 10: "10K", 10<<10 - 1: "10K", 10<<10 + 1: "11K",
		1<<20 - 1: "1.0M", 1 << 20: "1.0M", 1<<20 + 1: "1.1M", 999 << 20: "999M", 1023<<20 + 1: "1.0G", 5 << 30: "5.0G",
		1<<40 - 1: "1.0T", 1 << 60: "1.0E", 1<<64 - 1: "16E",
	} {
		if got := humanSize(n); got != text {
			t.Errorf("humanSize(%d) = %s, want %s", n, got, text)
		}
	}
}
