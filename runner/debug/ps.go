package debug

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
)

const (
	// maxCommand bounds what is shown of a command line.
	maxCommand = 4 << 10
	// ticks of the processor's time are in a second in every ABI of Linux.
	ticks = 100
)

// process is what ps shows of one.
type process struct {
	pid, parent, group, session int
	terminal, terminalGroup     int
	uid                         uint32
	state                       byte
	nice, threads               int64
	time                        uint64 // user and system, in ticks
	resident                    uint64 // in pages
	command                     string
}

// ps shows all processes of the container's PID namespace, whatever the
// options.
func ps(c *call) int {
	_, operands, ok := c.options("efAaxuwl", "")
	if !ok {
		return exitUsage
	}
	for _, arg := range operands {
		if strings.Trim(arg, "auxwef") != "" {
			return c.usageError("unexpected argument " + printable(arg))
		}
	}
	if _, err := os.Lstat(c.proc + "/self"); err != nil {
		c.complainText(c.proc + " is not mounted in this container")
		return 1
	}
	d, err := os.Open(c.proc)
	if err != nil {
		c.complain(c.proc, err)
		return 1
	}
	defer d.Close()
	c.print("    PID    PPID USER     STAT      RSS     TIME COMMAND\n")
	// The kernel lists processes in the order of their numbers.
	for !c.broken() {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil {
				c.process(pid)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.complain(c.proc, err)
			break
		}
	}
	return 0
}

// process prints a process, unless it has gone meanwhile.
func (c *call) process(pid int) {
	dir := c.proc + "/" + strconv.Itoa(pid)
	stat, err := readSome(dir+"/stat", maxCommand)
	if err != nil {
		return
	}
	p, ok := parseProcess(stat)
	if !ok {
		return
	}
	status, err := readSome(dir+"/status", maxCommand)
	if err != nil {
		return
	}
	p.uid, _ = effectiveUser(status)
	if line, err := readSome(dir+"/cmdline", maxCommand); err == nil && len(line) > 0 {
		p.command = strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
	} else {
		p.command = "[" + p.command + "]"
	}
	c.print(padLeft(strconv.Itoa(p.pid), 7), " ", padLeft(strconv.Itoa(p.parent), 7), " ",
		padRight(c.user(p.uid), 8), " ", padRight(p.stateLetters(), 4), " ",
		padLeft(utoa(p.resident*uint64(os.Getpagesize())/1024), 8), " ",
		padLeft(clock(p.time/ticks), 8), " ", printable(p.command), "\n")
}

// readSome reads the beginning of a file of the kernel.
func readSome(path string, limit int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// parseProcess reads /proc/PID/stat as proc_pid_stat(5) has it. The name in it
// is the process's own choice and may hold anything, even ") S 1".
func parseProcess(stat []byte) (process, bool) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 1 || end < open {
		return process{}, false
	}
	p := process{command: string(stat[open+1 : end])}
	fields := strings.Fields(string(stat[end+1:])) // the first is the third of the manual page
	if len(fields) < 22 || len(fields[0]) != 1 {
		return process{}, false
	}
	p.state = fields[0][0]
	number := func(field int) int64 {
		n, _ := strconv.ParseInt(fields[field-3], 10, 64)
		return n
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(stat[:open])))
	if err != nil {
		return process{}, false
	}
	p.pid = pid
	p.parent, p.group, p.session = int(number(4)), int(number(5)), int(number(6))
	p.terminal, p.terminalGroup = int(number(7)), int(number(8))
	p.time = uint64(number(14)) + uint64(number(15))
	p.nice, p.threads = number(19), number(20)
	p.resident = uint64(max(0, number(24)))
	return p, true
}

// effectiveUser finds the second number after "Uid:". The owner of /proc/PID
// would not do: it is root's for a process that cannot be traced.
func effectiveUser(status []byte) (uint32, bool) {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("Uid:"))
		if !ok {
			continue
		}
		fields := strings.Fields(string(rest))
		if len(fields) < 2 {
			return 0, false
		}
		n, err := strconv.ParseUint(fields[1], 10, 32)
		return uint32(n), err == nil
	}
	return 0, false
}

// stateLetters are those of procps: the state, "<" and "N" for priorities, "s"
// for a session's leader, "l" for threads, "+" for a terminal's foreground.
func (p *process) stateLetters() string {
	b := []byte{p.state}
	switch {
	case p.nice < 0:
		b = append(b, '<')
	case p.nice > 0:
		b = append(b, 'N')
	}
	if p.session == p.pid {
		b = append(b, 's')
	}
	if p.threads > 1 {
		b = append(b, 'l')
	}
	if p.terminal != 0 && p.terminalGroup == p.group {
		b = append(b, '+')
	}
	return string(b)
}

// clock is a time in the format [days-]hours:minutes:seconds.
func clock(seconds uint64) string {
	two := func(n uint64) string {
		if n < 10 {
			return "0" + utoa(n)
		}
		return utoa(n)
	}
	s := two(seconds/3600%24) + ":" + two(seconds/60%60) + ":" + two(seconds%60)
	if days := seconds / 86400; days > 0 {
		return utoa(days) + "-" + s
	}
	return s
}
