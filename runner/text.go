package runner

import (
	"strings"
	"unicode"
)

// maxName bounds one name from a binary in a message.
const maxName = 120

// printable makes text from a binary fit for a message: control characters
// become escapes and white space one space, so that it can neither move a
// terminal's cursor nor forge a line, and at most limit bytes of it are kept.
func printable(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	var b strings.Builder
	for _, c := range strings.Join(strings.Fields(s), " ") {
		switch {
		case !unicode.IsPrint(c):
			b.WriteString("\\u{" + hex(c) + "}")
		default:
			b.WriteRune(c)
		}
	}
	if cut {
		b.WriteString("…")
	}
	return b.String()
}

func hex(c rune) string {
	const digits = "0123456789abcdef"
	var b []byte
	for ; c > 0 || len(b) == 0; c >>= 4 {
		b = append([]byte{digits[c&15]}, b...)
	}
	return string(b)
}

// list joins the first few of n names and says how many are left out.
func list(names []string, atMost int) string {
	if len(names) <= atMost {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:atMost], ", ") + " and " + count(len(names)-atMost, "more")
}
