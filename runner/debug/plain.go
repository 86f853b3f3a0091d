package debug

import (
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func echo(c *call) int {
	args, end := c.args, "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	for i, arg := range args {
		if i > 0 {
			c.print(" ")
		}
		c.print(arg)
	}
	c.print(end)
	return 0
}

func env(c *call) int {
	_, operands, ok := c.options("", "")
	if !ok {
		return exitUsage
	}
	if len(operands) > 0 {
		return c.refuseArguments(operands, "run a program")
	}
	for _, kv := range c.env {
		c.print(kv, "\n")
	}
	return 0
}

// printenv fails, silently, when one of the names is not set.
func printenv(c *call) int {
	_, operands, ok := c.options("", "")
	if !ok {
		return exitUsage
	}
	if len(operands) == 0 {
		return env(c)
	}
	code := 0
	for _, name := range operands {
		value, found := "", false
		for _, kv := range c.env {
			if k, v, ok := strings.Cut(kv, "="); ok && k == name {
				value, found = v, true // the last one counts, as for getenv in Go
			}
		}
		if !found {
			code = 1
			continue
		}
		c.print(value, "\n")
	}
	return code
}

func pwd(c *call) int {
	_, operands, ok := c.options("LP", "")
	if !ok || !c.noOperands(operands) {
		return exitUsage
	}
	dir, err := syscall.Getwd()
	if err != nil {
		c.complain("current directory", err)
		return 1
	}
	c.print(dir, "\n")
	return 0
}

func hostname(c *call) int {
	_, operands, ok := c.options("", "")
	if !ok {
		return exitUsage
	}
	if len(operands) > 0 {
		return c.refuseArguments(operands, "set the name")
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		c.complain("uname", err)
		return 1
	}
	c.print(unix.ByteSliceToString(u.Nodename[:]), "\n")
	return 0
}

func sleep(c *call) int {
	_, operands, ok := c.options("", "")
	if !ok {
		return exitUsage
	}
	if len(operands) == 0 {
		return c.usageError("how long?")
	}
	var total time.Duration
	for _, s := range operands {
		d, ok := parseInterval(s)
		if !ok {
			return c.usageError("invalid time " + printable(s))
		}
		if total += d; total < 0 {
			total = math.MaxInt64
		}
	}
	time.Sleep(total)
	return 0
}

// parseInterval reads what sleep takes; what exceeds 292 years is as long as
// for ever.
func parseInterval(s string) (time.Duration, bool) {
	unit := time.Second
	if s != "" && s != "infinity" {
		last := s[len(s)-1]
		switch last {
		case 's':
		case 'm':
			unit = time.Minute
		case 'h':
			unit = time.Hour
		case 'd':
			unit = 24 * time.Hour
		}
		if strings.IndexByte("smhd", last) >= 0 {
			s = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(n, 1) || math.IsNaN(n) || n < 0 {
		return 0, false
	}
	if n *= float64(unit); n >= math.MaxInt64 {
		return math.MaxInt64, true
	}
	return time.Duration(n), true
}

// date knows no time zones: they are files of the container, which most images
// do not have, and a time of another zone than the node's logs misleads.
func date(c *call) int {
	_, operands, ok := c.options("u", "")
	if !ok {
		return exitUsage
	}
	format := "+%a %b %d %H:%M:%S %Z %Y"
	if len(operands) > 0 {
		format = operands[0]
	}
	if len(operands) > 1 || !strings.HasPrefix(format, "+") {
		return c.refuseArguments(operands, "set the clock")
	}
	text, bad := formatTime(format[1:], c.now().UTC())
	if bad != "" {
		return c.usageError("unknown format " + printable(bad))
	}
	c.print(text, "\n")
	return 0
}

// formatTime returns the first verb that it does not know as bad.
func formatTime(format string, t time.Time) (text, bad string) {
	var b []byte
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b = append(b, format[i])
			continue
		}
		i++
		if i == len(format) {
			return "", "%"
		}
		switch format[i] {
		case 's':
			b = strconv.AppendInt(b, t.Unix(), 10)
			continue
		case 'N':
			b = append(b, t.Format(".000000000")[1:]...)
			continue
		case '%':
			b = append(b, '%')
			continue
		}
		layout := ""
		switch format[i] {
		case 'Y':
			layout = "2006"
		case 'm':
			layout = "01"
		case 'd':
			layout = "02"
		case 'H':
			layout = "15"
		case 'M':
			layout = "04"
		case 'S':
			layout = "05"
		case 'F':
			layout = time.DateOnly
		case 'T':
			layout = time.TimeOnly
		case 'Z':
			layout = "MST"
		case 'z':
			layout = "-0700"
		case 'a':
			layout = "Mon"
		case 'b':
			layout = "Jan"
		default:
			return "", format[i-1 : i+1]
		}
		b = t.AppendFormat(b, layout)
	}
	return string(b), ""
}
