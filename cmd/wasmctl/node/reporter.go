package node

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// state says what became of a module, or of an image that has none.
type state string

const (
	done    state = "compiled"
	cached  state = "cached"  // was in the cache
	native  state = "native"  // not Wasm
	skipped state = "skipped" // cannot be run here, with a message
	failed  state = "failed"  // with a message
)

// outcome is a line of output.
type outcome struct {
	State state `json:"state"`
	// Image is empty for a module that is a file.
	Image string `json:"image,omitempty"`
	// Module is its path in the image, or that of the file.
	Module string `json:"module,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Size is that of the compiled code, in bytes.
	Size    int64   `json:"size,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Message string  `json:"message,omitempty"`
}

// reporter writes outcomes to out as lines, and messages to err. Where err is a
// terminal, its last line says what is going on.
type reporter struct {
	out, err io.Writer
	terminal bool
	json     bool
	total    int

	begun  int
	now    string
	counts map[state]int
}

func newReporter(out, err io.Writer, json bool) *reporter {
	return &reporter{out: out, err: err, json: json, terminal: isTerminal(err), counts: map[state]int{}}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// begin is for the next image or file.
func (r *reporter) begin(name string) {
	r.begun++
	r.now = fmt.Sprintf("[%d/%d] %s", r.begun, r.total, name)
	r.status(r.now)
}

// compiling is for a module of it.
func (r *reporter) compiling(module string) { r.status(r.now + ": " + module) }

func (r *reporter) status(text string) {
	if r.terminal {
		fmt.Fprintf(r.err, "\r\x1b[K%s", visible(text))
	}
}

func (r *reporter) tell(o outcome) {
	r.counts[o.State]++
	r.end()
	if r.json {
		b, _ := json.Marshal(o) // of strings and numbers
		fmt.Fprintf(r.out, "%s\n", b)
		return
	}
	name := o.Image
	if o.Module != "" && o.Image != "" {
		name += " " + o.Module
	} else if o.Module != "" {
		name = o.Module
	}
	switch o.State {
	case failed, skipped:
		fmt.Fprintf(r.err, "%-8s  %s: %s\n", o.State, visible(name), visible(o.Message))
	case native:
		fmt.Fprintf(r.out, "%-8s  %s\n", o.State, visible(name))
	case done:
		fmt.Fprintf(r.out, "%-8s  %s  %s  %.1fs\n", o.State, visible(name), sizeText(o.Size), o.Seconds)
	default:
		fmt.Fprintf(r.out, "%-8s  %s  %s\n", o.State, visible(name), sizeText(o.Size))
	}
}

// end removes the unfinished line.
func (r *reporter) end() {
	if r.terminal {
		fmt.Fprint(r.err, "\r\x1b[K")
	}
}

// summary is the exit code, and the last line.
func (r *reporter) summary() error {
	if !r.json {
		fmt.Fprintf(r.out, "%d compiled, %d cached, %d native, %d skipped, %d failed\n",
			r.counts[done], r.counts[cached], r.counts[native], r.counts[skipped], r.counts[failed])
	}
	if r.counts[failed] > 0 {
		return cli.Exit("", exitIncomplete)
	}
	return nil
}

// visible keeps what an image calls itself from writing to the terminal.
func visible(s string) string {
	quoted := fmt.Sprintf("%+q", s)
	if quoted == `"`+s+`"` {
		return s
	}
	return quoted
}

// sizeText writes bytes for people.
func sizeText(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}
