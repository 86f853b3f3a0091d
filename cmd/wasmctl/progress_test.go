package main

import (
	"bytes"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	for _, tt := range []struct {
		name     string
		terminal bool
		step     time.Duration
		want     string
	}{
		{"a terminal has one line, which goes", true, terminalInterval,
			"\rpush app: 25% of 4.0 MB\x1b[K\rpush app: 50% of 4.0 MB\x1b[K\rpush app: 75% of 4.0 MB\x1b[K\rpush app: 100% of 4.0 MB\x1b[K\r\x1b[K"},
		{"a terminal is not flooded", true, terminalInterval * 2 / 5,
			"\rpush app: 25% of 4.0 MB\x1b[K\rpush app: 100% of 4.0 MB\x1b[K\r\x1b[K"},
		{"a file gets lines", false, lineInterval / 2, "push app: 50% of 4.0 MB\npush app: 100% of 4.0 MB\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			clock := time.Unix(0, 0)
			p := &progress{what: "push app", w: &b, terminal: tt.terminal, now: func() time.Time { return clock }}
			if !tt.terminal {
				p.next = clock.Add(lineInterval)
			}
			for i := range int64(4) {
				clock = clock.Add(tt.step)
				p.report((i+1)*1e6, 4e6)
			}
			p.end()
			if b.String() != tt.want {
				t.Errorf("got  %q\nwant %q", b.String(), tt.want)
			}
		})
	}
}

func TestProgressOfWhatIsNoTerminalBeginsWithALine(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, "push app")
	p.report(1, 2)
	p.end()
	if b.String() != "push app\n" {
		t.Errorf("%q", b.String())
	}
}
