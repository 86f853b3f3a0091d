package control

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// FuzzReceive holds that a hostile runner can say nothing to the shim but that
// it is ready, or one short printable sentence of a known class, and that the
// shim reads no more of it than a report has.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{
		`{"ready":true}`, `{"error":{"class":"not found","message":"no module"}}`, `{"error":{}}`, `{"error":null}`, `{}`, ``, `{"ready":true`,
		`{"ready":true,"error":{"Class":"ok","Message":"both\u001b[2J\n"}}`, `[{"ready":true}]`, `{"ready":true}{"ready":true}`,
		`{"error":{"class":"internal","message":"` + strings.Repeat(`\u0000`, 3000) + `"}}`, `{"error":{"message":"\ud800\u202e"}}`,
		strings.Repeat(" ", maxReport) + `{"ready":true}`, strings.Repeat("[", 20000), "\xff\xfe",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		input := bytes.NewReader(b)
		err := Receive(iotest.OneByteReader(input))
		if read := len(b) - input.Len(); read > maxReport {
			t.Errorf("read %d bytes", read)
		}
		if again := Receive(bytes.NewReader(b)); (err == nil) != (again == nil) {
			t.Errorf("byte by byte: %v, at once: %v", err, again)
		}
		if err == nil {
			if !bytes.Contains(bytes.ToLower(b), []byte("true")) {
				t.Error("ready, without saying so")
			}
			return
		}
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return // not a report
		}
		fit(t, e)
		// The shim's own process says it again to containerd.
		var out bytes.Buffer
		if err := SendError(&out, e); err != nil || out.Len() > maxReport {
			t.Fatalf("%d bytes, %v", out.Len(), err)
		}
		if again := Receive(&out); again.Error() != e.Error() {
			t.Errorf("%.100q became %.100q", e, again)
		}
	})
}

func fit(t *testing.T, e *Error) {
	t.Helper()
	if !utf8.ValidString(e.Message) || len(e.Message) > maxMessage || strings.ContainsFunc(e.Message, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("unfit for a message: %.100q of %d bytes", e.Message, len(e.Message))
	}
	switch e.Class {
	case InvalidArgument, NotFound, Unavailable, ResourceExhausted, Internal:
	default:
		t.Errorf("class %q", e.Class)
	}
}

func TestASentenceStaysOne(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                 "plain",
		"a\nb\x1b[2J\x00":                       `a\nb\x1b[2J\x00`,
		"bad \xff":                              "bad \ufffd",
		"turned \u202e around":                  `turned \u202e around`,
		strings.Repeat("x", maxMessage-1) + "ü": strings.Repeat("x", maxMessage-3) + "…",
		strings.Repeat("x", maxMessage):         strings.Repeat("x", maxMessage),
	} {
		if got := Errorf(Internal, "%s", in).Message; got != want {
			t.Errorf("%.40q became %.40q", in, got)
		}
	}
}

func TestAProcessThatDiesIsNoReport(t *testing.T) {
	for _, s := range []string{"", `{"ready":`, " "} {
		if err := Receive(strings.NewReader(s)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
