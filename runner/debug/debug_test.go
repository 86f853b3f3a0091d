package debug

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// noon is now in all tests.
var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// newCall is a call as Main makes it, in a world that is all the test's.
func newCall(t *testing.T, argv ...string) (c *call, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return &call{
		name: argv[0], args: argv[1:],
		stdin: strings.NewReader(""), out: bufio.NewWriter(stdout), stderr: stderr,
		now: func() time.Time { return noon }, proc: t.TempDir(), etc: t.TempDir(),
		maxNames: maxNames, poll: time.Millisecond,
	}, stdout, stderr
}

// want runs a call and compares everything that it leaves.
func want(t *testing.T, c *call, code int, stdout, stderr string) {
	t.Helper()
	var out, diag bytes.Buffer
	c.out, c.stderr = bufio.NewWriter(&out), &diag
	if got := c.run(); got != code {
		t.Errorf("%s %q exits with %d, want %d", c.name, c.args, got, code)
	}
	if got := out.String(); got != stdout {
		t.Errorf("%s %q prints\n%s\nwant\n%s", c.name, c.args, got, stdout)
	}
	if got := diag.String(); got != stderr {
		t.Errorf("%s %q complains\n%s\nwant\n%s", c.name, c.args, got, stderr)
	}
}

// inDir makes files in a fresh current directory. A name that ends in a slash
// is a directory, contents that begin with "-> " are a link.
func inDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	t.Chdir(dir)
	return dir
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, contents := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, ok := strings.CutPrefix(contents, "-> "); ok {
			err = errors.Join(err, os.Symlink(target, path))
		} else if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(contents), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestMainRunsACommandWithTheGuestsEnvironment(t *testing.T) {
	var out, diag bytes.Buffer
	t.Setenv("RUNNER_ONLY", "x")
	if code := Main([]string{"env"}, []string{"A=1", "B=two words"}, strings.NewReader(""), &out, &diag); code != 0 {
		t.Fatal(code, diag.String())
	}
	if out.String() != "A=1\nB=two words\n" {
		t.Fatal(out.String())
	}
}

func TestWhatIsNoCommandIsRefusedWith127(t *testing.T) {
	for _, name := range []string{"sh", "", "/bin/ls", "tar"} {
		c, _, _ := newCall(t, name, "-c", "true")
		want(t, c, 127, "", Refusal(name)+"\n")
	}
}

func TestHelpListsEveryCommandOnALine(t *testing.T) {
	c, stdout, _ := newCall(t, "help")
	if code := c.run(); code != 0 {
		t.Fatal(code)
	}
	for _, name := range Names() {
		cmd := find(name)
		if cmd == nil {
			t.Errorf("%s does not exist", name)
			continue
		}
		if line := "\n  " + padRight(name, 9) + " " + cmd.about + "\n"; !strings.Contains(stdout.String(), line) {
			t.Errorf("help has no line for %s", name)
		}
		if word, _, _ := strings.Cut(cmd.usage, " "); word != name {
			t.Errorf("usage of %s begins with %q", name, word)
		}
		if name == "echo" {
			continue
		}
		c, _, _ := newCall(t, name, "--help")
		want(t, c, 0, cmd.usage+"\n"+cmd.about+"\n", "")
	}
	for _, cmd := range commands() {
		if !Has(cmd.name) {
			t.Errorf("%s is not among the names that the shim knows", cmd.name)
		}
	}
	for i, line := range strings.Split(stdout.String(), "\n") {
		if len([]rune(line)) > 100 {
			t.Errorf("line %d of help is too long: %s", i+1, line)
		}
	}
}

func TestTheDocumentationNamesEveryCommand(t *testing.T) {
	b, err := os.ReadFile("../../docs/debugging.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range commands() {
		if !bytes.Contains(b, []byte("`"+cmd.name)) {
			t.Errorf("docs/debugging.md does not mention %s", cmd.name)
		}
	}
}

func TestUnknownOptionsAreErrors(t *testing.T) {
	for _, name := range Names() {
		if slices.Contains([]string{"echo", "true", "false"}, name) {
			continue // as everywhere, these take anything
		}
		for _, option := range []string{"-Q", "--color=auto"} {
			c, _, _ := newCall(t, name, option)
			want(t, c, 2, "", name+": unknown option "+option+"; try help\n")
		}
	}
	for _, test := range []struct{ args, complaint string }{
		{"ls -l\x1b", "ls: unknown option -?; try help\n"},
		{"ls -é", "ls: unknown option -é; try help\n"},
		{"head -n", "head: option -n needs a value; try help\n"},
		{"head -n x", "head: invalid number x; try help\n"},
		{"head -n -1", "head: invalid number -1; try help\n"},
		{"head -n 9999999999G", "head: invalid number 9999999999G; try help\n"},
		{"tail -n 1 -c 1", "tail: only one of -n and -c; try help\n"},
		{"tail -f a b", "tail: -f follows one file; try help\n"},
		{"pwd x", "pwd: unexpected argument x; try help\n"},
		{"ps x y1", "ps: unexpected argument y1; try help\n"},
		{"sleep", "sleep: how long?; try help\n"},
		{"sleep 1x", "sleep: invalid time 1x; try help\n"},
		{"sleep nan", "sleep: invalid time nan; try help\n"},
		{"date +%Q", "date: unknown format %Q; try help\n"},
		{"stat", "stat: which file?; try help\n"},
		{"stat -c %Q /", "stat: unknown format %Q; try help\n"},
		{"id -u -g", "id: one of -u, -g and -G, with or without -n; try help\n"},
	} {
		c, _, _ := newCall(t, strings.Split(test.args, " ")...)
		want(t, c, 2, "", test.complaint)
	}
}

func TestWhatWouldChangeSomethingIsRefused(t *testing.T) {
	for _, test := range []struct{ args, complaint string }{
		{"env A=1 sh", "env: with arguments it would run a program, and nothing here does: A=1 sh; try help\n"},
		{"mount a b", "mount: with arguments it would mount something, and nothing here does: a b; try help\n"},
		{"hostname a", "hostname: with arguments it would set the name, and nothing here does: a; try help\n"},
		{"date 0101", "date: with arguments it would set the clock, and nothing here does: 0101; try help\n"},
	} {
		c, _, _ := newCall(t, strings.Split(test.args, " ")...)
		want(t, c, 2, "", test.complaint)
	}
}

func TestPlainCommands(t *testing.T) {
	dir := inDir(t, nil)
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		argv []string
		code int
		out  string
	}{
		{[]string{"true", "x"}, 0, ""},
		{[]string{"false"}, 1, ""},
		{[]string{"echo", "-n", "a  b", "c"}, 0, "a  b c"},
		{[]string{"echo", "--help"}, 0, "--help\n"},
		{[]string{"echo"}, 0, "\n"},
		{[]string{"pwd"}, 0, dir + "\n"},
		{[]string{"hostname"}, 0, host + "\n"},
		{[]string{"sleep", "0", "0.001s", "0m"}, 0, ""},
		{[]string{"printenv"}, 0, "A=1\nB=\nA=2\nodd\n"},
		{[]string{"printenv", "A", "B"}, 0, "2\n\n"},
		{[]string{"printenv", "A", "C"}, 1, "2\n"},
		{[]string{"date"}, 0, "Wed Jul 01 12:00:00 UTC 2026\n"},
		{[]string{"date", "-u", "+%F %T.%N %z %s 100%%"}, 0, "2026-07-01 12:00:00.000000000 +0000 1782907200 100%\n"},
	} {
		c, _, _ := newCall(t, test.argv...)
		c.env = []string{"A=1", "B=", "A=2", "odd"}
		want(t, c, test.code, test.out, "")
	}
}

func TestIntervals(t *testing.T) {
	for s, d := range map[string]time.Duration{
		"0": 0, "1.5": 1500 * time.Millisecond, "2m": 2 * time.Minute, "1d": 24 * time.Hour,
		"infinity": 1<<63 - 1, "1e300": 1<<63 - 1,
	} {
		if got, ok := parseInterval(s); !ok || got != d {
			t.Errorf("parseInterval(%q) = %v, %v, want %v", s, got, ok, d)
		}
	}
	for _, s := range []string{"", "-1", "s", "nan", "1h2"} {
		if got, ok := parseInterval(s); ok {
			t.Errorf("parseInterval(%q) = %v", s, got)
		}
	}
}

// brokenPipe takes n writes.
type brokenPipe struct {
	n     int
	taken bytes.Buffer
	after func() // called after each write
}

func (w *brokenPipe) Write(b []byte) (int, error) {
	if w.n == 0 {
		return 0, errors.New("broken pipe")
	}
	w.n--
	w.taken.Write(b)
	if w.after != nil {
		w.after()
	}
	return len(b), nil
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestCommandsEndWhenNobodyReads(t *testing.T) {
	for _, argv := range [][]string{{"cat"}, {"cat", "-n"}, {"tail", "-n", "+1"}, {"head", "-c", "1G"}} {
		c, _, stderr := newCall(t, argv...)
		w := &brokenPipe{n: 3}
		c.stdin, c.out = zeros{}, bufio.NewWriter(w)
		if code := c.run(); code != 1 || stderr.String() != argv[0]+": write: broken pipe\n" {
			t.Errorf("%q: exit code %d, %q", argv, code, stderr)
		}
		if w.taken.Len() > 4*blockSize {
			t.Errorf("%q read on for %d bytes", argv, w.taken.Len())
		}
	}
}

func TestAPausingPipeIsPrintedAtOnce(t *testing.T) {
	c, _, _ := newCall(t, "cat", "-n")
	r, w := io.Pipe()
	out, printed := io.Pipe()
	c.stdin, c.out = r, bufio.NewWriter(printed)
	done := make(chan int)
	go func() {
		code := c.run()
		printed.Close()
		done <- code
	}()
	w.Write([]byte("one\n"))
	first := make([]byte, 64)
	if n, err := out.Read(first); err != nil || string(first[:n]) != "     1\tone\n" {
		t.Errorf("printed %q, %v before the pipe went on", first[:n], err)
	}
	w.Write([]byte("tw"))
	w.Close()
	if rest, err := io.ReadAll(out); err != nil || string(rest) != "     2\ttw" {
		t.Errorf("%q, %v", rest, err)
	}
	if code := <-done; code != 0 {
		t.Error(code)
	}
}
