package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress tells how far something is: on a terminal in one line that changes,
// elsewhere in a line now and then.
type progress struct {
	what     string
	w        io.Writer
	terminal bool
	now      func() time.Time

	mu   sync.Mutex
	next time.Time
	line bool // a line of the terminal is unfinished
}

// How often something is said.
const (
	terminalInterval = 100 * time.Millisecond
	lineInterval     = 10 * time.Second
)

// newProgress begins. w is a terminal or anything else.
func newProgress(w io.Writer, what string) *progress {
	f, ok := w.(*os.File)
	p := &progress{what: what, w: w, terminal: ok && isTerminal(f), now: time.Now}
	if !p.terminal {
		fmt.Fprintln(w, what)
		p.next = p.now().Add(lineInterval)
	}
	return p
}

// report may be called by any goroutine.
func (p *progress) report(complete, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if total <= 0 || p.now().Before(p.next) {
		return
	}
	text := fmt.Sprintf("%s: %d%% of %.1f MB", p.what, 100*complete/total, float64(total)/1e6)
	if p.terminal {
		// To the start of the line, and what is behind the text away.
		fmt.Fprintf(p.w, "\r%s\x1b[K", text)
		p.line, p.next = true, p.now().Add(terminalInterval)
		return
	}
	fmt.Fprintln(p.w, text)
	p.next = p.now().Add(lineInterval)
}

// end removes the unfinished line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.line = false
	}
}
