// Package control is what the shim and the process of a container say to each
// other from its birth until its guest runs: which file descriptor means what,
// and one report in each direction.
//
// The shim, the sandbox's init and the runner use it. It imports nothing but
// the standard library, so that the runner stays small.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/wasmshim/containerd-shim-wasm/internal/timeline"
)

// File descriptors that a container's process inherits beside its stdio.
const (
	// ConfigFD is the read end of a pipe from which the init reads its
	// configuration up to EOF. The shim writes it only after the process is in
	// its cgroup, or can join it as TasksFD has it, so that nothing runs outside
	// the limits.
	ConfigFD = 3
	// SocketFD is a stream socket: one Report to the shim, one start byte back;
	// once more, and before, if the init goes on as another process, and if the
	// shim runs hooks while the init waits.
	// When the shim dies, the process reads EOF and ends.
	SocketFD = 4
	// ProgramFD is the executable that the init becomes.
	ProgramFD = 5
	// WorkloadFD holds the JSON of an oci.Workload, or of a CompileConfig, read
	// from offset 0 to EOF.
	WorkloadFD = 6
	// ModuleFD is the guest's binary, open for reading at offset 0.
	ModuleFD = 7
	// CacheFD is a directory that holds the compiled code of that binary and
	// nothing else, on a read-only mount. It is absent when there is none.
	CacheFD = 8
	// ContainerFD is a pidfd of the container's init, for a further process in
	// that container; the program does not get it.
	ContainerFD = 9
	// InitFD is the runner's executable, for an init that goes on as another
	// process and then becomes another program; the program does not get it.
	InitFD = 10
	// TasksFD is the first of the files that a sandbox.Config counts in Tasks.
	TasksFD = 11
)

// Class says what kind of failure a Report carries; the shim turns it into the
// errdefs class of the same name.
type Class string

// Classes of failures.
const (
	// InvalidArgument: the spec or the image asks for something impossible.
	InvalidArgument Class = "invalid argument"
	// NotFound: a file that the spec or the image names does not exist.
	NotFound Class = "not found"
	// ResourceExhausted: a limit of the container or of its runtime was hit.
	ResourceExhausted Class = "resource exhausted"
	// Unavailable: the node lacks something for now, such as memory.
	Unavailable Class = "unavailable"
	// Internal: everything else.
	Internal Class = "internal"
)

// Error is a failure with its class. Its message is one sentence for the user.
type Error struct {
	Class   Class
	Message string
}

func (e *Error) Error() string { return e.Message }

// Errorf returns an *Error of the class. A %w verb is printed, not wrapped:
// only the class and the sentence cross the process boundary. What the sentence
// quotes from a spec or an image cannot make it longer than 8 KiB or break its
// line.
func Errorf(class Class, format string, args ...any) *Error {
	return &Error{Class: class, Message: sentence(fmt.Errorf(format, args...).Error())}
}

// sentence makes a text fit for a log, a terminal and a protobuf string: at most
// maxMessage bytes of UTF-8 in one line.
func sentence(s string) string {
	const more = "…"
	var b strings.Builder
	fits := 0 // how much of b leaves room for more
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
		if b.Len() > maxMessage {
			return b.String()[:fits] + more
		}
		if b.Len() <= maxMessage-len(more) {
			fits = b.Len()
		}
	}
	return b.String()
}

// Report is what a container's process tells the shim, once: that it waits for
// the start byte, or why it will never run.
type Report struct {
	Ready bool `json:"ready,omitempty"`
	// Pid is that of the process as which the init goes on, in the pid
	// namespace of the shim; a further report comes from there.
	Pid   int    `json:"pid,omitempty"`
	Error *Error `json:"error,omitempty"`
	// Timeline is how the process became ready, if it was asked.
	Timeline timeline.Marks `json:"timeline,omitempty"`
}

// CompileConfig is what the compile process reads from WorkloadFD as JSON. The
// binary is behind ModuleFD, the report goes to SocketFD.
type CompileConfig struct {
	// Dir is the directory, in the process's own root, in which compiled code is
	// stored, as CacheFD will show it to the runner.
	Dir string `json:"dir"`
	// Module is the binary's name for messages.
	Module string `json:"module"`
	// Limits are those of the compilation.
	Limits CompileLimits `json:"limits,omitzero"`
}

// CompileLimits bound one compilation; zero is no limit.
type CompileLimits struct {
	// Time is the processor time that it may take. In WallFactor times that it
	// has to be done.
	Time time.Duration `json:"time,omitempty"`
	// Memory is how many bytes of memory its process may have.
	Memory int64 `json:"memory,omitempty"`
}

// WallFactor is by how much a compilation may last longer than it computes.
const WallFactor = 4

// maxReport bounds what the shim reads from a process that runs hostile code.
const maxReport = 64 << 10

// maxMarks bounds a timeline.
const maxMarks = 32

// maxMessage bounds a sentence; it keeps a report with all its JSON escapes below
// maxReport.
const maxMessage = 8 << 10

// SendReady reports that the process is ready, and how it became so where marks
// is not nil, and waits for the start byte. It fails with io.EOF when the shim went away instead.
func SendReady(rw io.ReadWriter, marks *timeline.Marks) error {
	report := Report{Ready: true}
	if marks != nil {
		report.Timeline = *marks
	}
	if err := send(rw, report); err != nil {
		return err
	}
	_, err := io.ReadFull(rw, make([]byte, 1))
	return err
}

// SendPid reports the pid of the process as which this one goes on once the shim
// has sent the start byte. It fails with io.EOF when the shim went away instead.
func SendPid(rw io.ReadWriter, pid int) error {
	if err := send(rw, Report{Pid: pid}); err != nil {
		return err
	}
	_, err := io.ReadFull(rw, make([]byte, 1))
	return err
}

// SendDone reports that a process has done its work; unlike SendReady it waits
// for nothing. Receive returns nil for it.
func SendDone(w io.Writer) error { return send(w, Report{Ready: true}) }

// SendError reports that the process ends before its guest ran. An error that
// is not an *Error is Internal.
func SendError(w io.Writer, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Class: Internal, Message: err.Error()}
	}
	e = &Error{Class: e.Class, Message: sentence(e.Message)}
	return send(w, Report{Error: e})
}

// SendStart releases a process that has reported ready.
func SendStart(w io.Writer) error {
	_, err := w.Write([]byte{1})
	return err
}

// Receive reads the report of a process. It returns nil when the process is ready, the *Error that it reported, or io.ErrUnexpectedEOF when it died
// without a report.
func Receive(r io.Reader) error {
	_, err := ReceiveReady(r)
	return err
}

// ReceiveReady is Receive, with how the process became ready.
func ReceiveReady(r io.Reader) (timeline.Marks, error) {
	rep, err := receive(r)
	if err == nil && !rep.Ready {
		return nil, errors.New("read report: neither ready nor an error")
	}
	return rep.Timeline, err
}

// ReceivePid reads the report of SendPid; its errors are those of Receive.
func ReceivePid(r io.Reader) (int, error) {
	rep, err := receive(r)
	if err == nil && rep.Pid <= 0 {
		return 0, errors.New("read report: neither a pid nor an error")
	}
	return rep.Pid, err
}

func receive(r io.Reader) (rep Report, _ error) {
	if err := json.NewDecoder(io.LimitReader(r, maxReport)).Decode(&rep); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return rep, io.ErrUnexpectedEOF
		}
		return rep, fmt.Errorf("read report: %w", err)
	}
	rep.Timeline = rep.Timeline[:min(len(rep.Timeline), maxMarks)]
	for i, m := range rep.Timeline {
		rep.Timeline[i].Name = sentence(m.Name)
	}
	if rep.Error == nil {
		return rep, nil
	}
	// The process may be a guest that has taken over its runner.
	e := &Error{Class: rep.Error.Class, Message: sentence(rep.Error.Message)}
	switch e.Class {
	case InvalidArgument, NotFound, Unavailable, ResourceExhausted, Internal:
	default:
		e.Class = Internal
	}
	return rep, e
}

func send(w io.Writer, rep Report) error {
	b, err := json.Marshal(rep)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
