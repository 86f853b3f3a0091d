package runner

import (
	"strings"
)

// ExitTrap is the exit code of a guest that trapped: that of a native process
// which dies of SIGABRT. It is not 137, which everybody reads as out of memory.
const ExitTrap = 134

// trap is how a guest ended that neither returned nor exited.
type trap struct {
	module string
	// reason is one line, such as "out of bounds memory access".
	reason string
	// frames are the lines of the Wasm stack, the innermost first: function
	// names with their types, and below them, indented, lines of source where
	// the module has DWARF.
	frames []string
	// rest is a Go stack when the fault was in the host.
	rest string
}

// Words with which wazero builds its error of a trap.
const (
	stackSeparator = "\nwasm stack trace:\n\t"
	reasonPrefix   = "wasm error: "
	hostSuffix     = " (recovered by wazero)"
	goStackPrefix  = "\n\nGo runtime stack trace:\n"
)

// newTrap reads wazero's error of a call.
func newTrap(module string, err error) *trap {
	text, rest, _ := strings.Cut(err.Error(), goStackPrefix)
	reason, stack, _ := strings.Cut(text, stackSeparator)
	// A start function's error is wrapped in a description of the function.
	if _, after, ok := strings.Cut(reason, reasonPrefix); ok {
		reason = after
	}
	if before, ok := strings.CutSuffix(reason, hostSuffix); ok {
		reason = "failure in the host: " + before
	}
	t := &trap{module: module, reason: printable(reason, maxEngineText), rest: rest}
	if stack == "" {
		return t
	}
	for line := range strings.SplitSeq(stack, "\n\t") {
		source, isSource := strings.CutPrefix(line, "\t")
		if !isSource {
			// A module without a name leaves nothing before the dot.
			line = strings.TrimPrefix(line, ".")
			t.frames = append(t.frames, "at "+printable(line, maxFrame))
			continue
		}
		t.frames = append(t.frames, "    "+printable(source, maxFrame))
	}
	return t
}

// maxTermination is what kubelet reads of a termination message, from its end.
const maxTermination = 4096

// firstLines cuts a text behind the last line that fits in n bytes.
func firstLines(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:strings.LastIndexByte(s[:n], '\n')+1]
}

// maxFrame bounds one line of a stack: C++ and Rust names are long.
const maxFrame = 512

// String is the block that the user finds on the guest's standard error.
func (t *trap) String() string {
	var b strings.Builder
	b.WriteString(t.module + ": trap: " + t.reason + "\n")
	for _, f := range t.frames {
		b.WriteString("    " + f + "\n")
	}
	if t.rest != "" {
		b.WriteString(t.rest + "\n")
	}
	return b.String()
}
