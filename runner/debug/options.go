package debug

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// options are the options of one call by their letters.
type options struct {
	flags  map[byte]bool
	values map[byte]string
}

func (o options) has(letter byte) bool { return o.flags[letter] }

// options splits the arguments into options and operands as GNU getopt does:
// letters may be joined, options may follow operands, and "--" ends them. A
// letter in flags stands for itself, one in valued takes an argument. Any other
// is an error that has been reported when ok is false.
func (c *call) options(flags, valued string) (o options, operands []string, ok bool) {
	o = options{flags: map[byte]bool{}, values: map[byte]string{}}
	args := c.args
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			operands = append(operands, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			operands = append(operands, arg)
			continue
		}
		if arg[1] == '-' {
			c.usageError("unknown option " + printable(arg))
			return o, nil, false
		}
		for i := 1; i < len(arg); i++ {
			letter := arg[i]
			if strings.IndexByte(valued, letter) >= 0 {
				value := arg[i+1:]
				if value == "" {
					if len(args) == 0 {
						c.usageError("option -" + string(rune(letter)) + " needs a value")
						return o, nil, false
					}
					value, args = args[0], args[1:]
				}
				o.flags[letter], o.values[letter] = true, value
				break
			}
			if strings.IndexByte(flags, letter) < 0 {
				r, _ := utf8.DecodeRuneInString(arg[i:])
				c.usageError("unknown option -" + printable(string(r)))
				return o, nil, false
			}
			o.flags[letter] = true
		}
	}
	return o, operands, true
}

// noOperands reports operands of a command that takes none.
func (c *call) noOperands(operands []string) bool {
	if len(operands) == 0 {
		return true
	}
	c.usageError("unexpected argument " + printable(operands[0]))
	return false
}

// parseCount reads a number with an optional unit of powers of 1024.
func parseCount(s string) (int64, bool) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("KMG", s[len(s)-1]&^0x20); i >= 0 {
			shift = 10 * (i + 1)
			s = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, false
	}
	return int64(n << shift), true
}
