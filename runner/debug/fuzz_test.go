package debug

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func FuzzAccounts(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/sh\n"))
	f.Add([]byte("a:b:c\n:::\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range parseAccounts(b) {
			if name == "" || name != printable(name) || strings.ContainsAny(name, ":\n") {
				t.Errorf("name %q", name)
			}
		}
	})
}

// impatient takes so much output and then fails, as a client does that goes away.
type impatient struct {
	bytes.Buffer
	left int
}

var errGone = errors.New("gone")

func (w *impatient) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errGone
	}
	return w.Buffer.Write(p)
}

// FuzzCommands runs commands with any arguments. Whatever these are, a command
// ends with one of its four codes, complains in lines that begin with its name,
// and leaves the directory as it was.
func FuzzCommands(f *testing.F) {
	for _, name := range Names() {
		f.Add(name, "", "one\ntwo\n")
		f.Add(name, "-l\x00--\x00a\x00missing\x00dir", "")
	}
	for _, args := range []string{
		"head\x00-n\x00-1", "head\x00-c9223372036854775807K\x00a", "tail\x00-n+2\x00a", "tail\x00-c\x00+0\x00-", "tail\x00-9999999999999999999\x00a",
		"date\x00+%Y%", "date\x00-s\x00x", "stat\x00-c\x00%n%s%%%\x00a", "stat\x00-L\x00loop", "ls\x00-R\x00dir", "ls\x00-n1\x00a\x00a",
		"echo\x00-n\x00\x1b[2J", "env\x00sh", "printenv\x00A\x00=", "help\x00ls\x00\x1b", "id\x00-un", "wc\x00-lwc\x00a\x00-", "cat\x00-n\x00a\x00link",
		"ps\x00aux", "ss\x00-tulpan46", "df\x00-hiTa", "mount\x00-a", "\x1b\x00x",
	} {
		name, rest, _ := strings.Cut(args, "\x00")
		f.Add(name, rest, "x")
	}
	f.Fuzz(func(t *testing.T, name, arguments, stdin string) {
		args := strings.Split(arguments, "\x00")
		if arguments == "" {
			args = nil
		}
		for _, a := range args {
			// Other files are not this test's, and some never end.
			if strings.Contains(a, "..") || strings.Contains(a, "/") {
				return // a path
			}
		}
		if name == "sleep" && !slices.Contains(args, "--help") {
			if len(args) > 0 {
				_, _ = parseInterval(args[0])
			}
			return // it sleeps
		}
		dir := inDir(t, map[string]string{"a": "1\n2\n3\n4", "dir/b": "b", "link": "-> a", "loop": "-> loop", "\x1b[2J": ""})
		before := snapshot(t, dir)
		etc := t.TempDir()
		write(t, etc, map[string]string{"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n"})
		out, diag := &impatient{left: 64 << 10}, &impatient{left: 1 << 20}
		c := &call{
			name: name, args: args, env: []string{"A=1", "B"}, stdin: strings.NewReader(stdin), out: bufio.NewWriter(out), stderr: diag,
			now: func() time.Time { return noon }, proc: "/proc", etc: etc, maxNames: 100,
			poll: time.Nanosecond,
		}
		if name == "tail" && slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.Contains(a, "f") }) {
			out.left = 0 // it would follow for ever
			if err := os.WriteFile("a", []byte("1\n2\n3\n4"), 0o644); err != nil {
				t.Fatal(err)
			}
			return // it follows
		}
		code := c.run()
		if !slices.Contains([]int{0, 1, 2, 127}, code) || (code == 127) == Has(name) {
			t.Errorf("exits with %d", code)
		}
		if code != 0 && name != "false" && name != "printenv" && diag.Len() == 0 {
			t.Errorf("exits with %d and says nothing", code)
		}
		for line := range strings.Lines(diag.String()) {
			text, whole := strings.CutSuffix(line, "\n")
			if !whole || text != printable(text) || !strings.HasPrefix(text, name+": ") && code != exitNotFound {
				t.Errorf("complains %q", line)
			}
		}
		if after := snapshot(t, dir); before != after {
			t.Errorf("the directory was\n%s\nand is\n%s", before, after)
		}
	})
}

// snapshot is all that a command could have changed below a directory.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(strconv.Quote(path) + " " + fi.Mode().String() + " " + fi.ModTime().String() + " " + strconv.FormatInt(fi.Size(), 10) + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzTables holds of any line of the kernel's tables, which names of mounts and
// devices get into, that what is read of it is printable when it is printed.
func FuzzTables(f *testing.F) {
	f.Add(`26 25 0:22 / /sys/fs/cgroup\040x rw,nosuid shared:1 - cgroup2 cgroup2 rw,nsdelegate`)
	f.Add(`1 2 3:4 / /a\134\012b rw - t\ s\777`)
	f.Add(` - `)
	f.Fuzz(func(t *testing.T, line string) {
		if u := unescape(line); len(u) > len(line) {
			t.Errorf("%q became %q", line, u)
		}
		m, ok := parseMountPoint(line)
		if !ok {
			return
		}
		for _, s := range []string{m.point, m.source, m.kind} {
			if p := printable(s); strings.ContainsAny(p, "\n\x1b\x00") {
				t.Errorf("%q is printed as %q", s, p)
			}
		}
	})
}
