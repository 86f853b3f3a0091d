package debug

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/debugnames"
)

// Exit codes beside 0 and 1, as shells have them.
const (
	exitUsage    = 2
	exitNotFound = 127
)

// Names lists the commands, sorted.
func Names() []string { return debugnames.Names() }

// Has says whether Main knows a command of that name.
func Has(name string) bool { return debugnames.Has(name) }

// Refusal is the sentence for a program that is neither a module nor a command.
func Refusal(name string) string { return debugnames.Refusal(name) }

// Main runs the command argv[0] in the current directory and returns its exit
// code: 0, 1 when something failed, 2 for options that it does not know, 127
// for a command that does not exist. env is the container's environment as
// KEY=VALUE; the process's own is not looked at.
func Main(argv, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(argv) == 0 {
		argv = []string{"help"}
	}
	c := &call{
		name: argv[0], args: argv[1:], env: env,
		stdin: stdin, out: bufio.NewWriter(stdout), stderr: stderr,
		now: time.Now, proc: "/proc", etc: "/etc", maxNames: maxNames, poll: time.Second,
	}
	return c.run()
}

// maxNames is how many names of one directory ls keeps, together with what -l
// shows of them: 4 MB, or 11 MB if every name is as long as can be. The memory
// is taken from the container's, where the guest may need it.
const maxNames = 1 << 15

// call is one command being run.
type call struct {
	name   string
	args   []string // without the name
	env    []string
	stdin  io.Reader
	out    *bufio.Writer // flushed when the command ends; its first error stays
	stderr io.Writer
	failed bool // something was complained about

	// What tests replace.
	now       func() time.Time
	proc, etc string
	maxNames  int
	poll      time.Duration // between two looks at a file that tail follows

	users, groups map[uint32]string // filled by the first look-up
}

func (c *call) run() int {
	cmd := find(c.name)
	if cmd == nil {
		io.WriteString(c.stderr, Refusal(c.name)+"\n")
		return exitNotFound
	}
	var code int
	if c.name != "echo" && len(c.args) == 1 && c.args[0] == "--help" {
		c.print(cmd.usage, "\n", cmd.about, "\n")
	} else {
		code = cmd.run(c)
	}
	if err := c.out.Flush(); err != nil {
		c.complain("write", err)
	}
	if c.failed && code == 0 {
		code = 1
	}
	return code
}

func (c *call) print(parts ...string) {
	for _, s := range parts {
		c.out.WriteString(s)
	}
}

// complain reports what is wrong with a thing, as coreutils do, and has the
// command fail in the end. Output stays in order where both go to a terminal.
func (c *call) complain(thing string, err error) {
	c.complainText(printable(thing) + ": " + cause(err))
}

func (c *call) complainText(text string) {
	c.failed = true
	c.out.Flush()
	io.WriteString(c.stderr, c.name+": "+text+"\n")
}

// usageError reports a wrong use of the command and returns its exit code.
func (c *call) usageError(text string) int {
	c.complainText(text + "; try help")
	return exitUsage
}

// broken says that nobody reads the output any more, which ends a command that
// could otherwise go on for long.
func (c *call) broken() bool {
	// A bufio.Writer returns its first error for every later write.
	_, err := c.out.Write(nil)
	return err != nil
}

// cause is an error without the operation and the path that the os package
// adds, which the message has already.
func cause(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// open opens a file for reading; a terminal does not become the controlling
// one of this process.
func open(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|unix.O_NOCTTY, 0)
}

// printable replaces what could move a terminal's cursor or forge a line, as
// busybox does. File contents are not touched by it, only names.
func printable(s string) string {
	clean := true
	for _, r := range s {
		clean = clean && r != '\uFFFD' && strconv.IsPrint(r)
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == '\uFFFD' || !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-len(s))) + s
}

func padRight(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-len(s)))
}
