package shim

import (
	"context"
	"sync"

	"github.com/containerd/log"

	"github.com/wasmshim/containerd-shim-wasm/internal/timeline"
)

// begun is when the Go runtime had started, nearly.
var begun = timeline.Now()

// firstMarks are those of a server and of the `start` that made it, until the
// first container takes them.
var firstMarks struct {
	sync.Mutex
	*timeline.Marks
}

// startEnvironment hands the marks of `start` to the server.
func startEnvironment() []string {
	m := timeline.Marks{{Name: "start: begins", At: begun}}
	m.Add("start: spawns the server")
	return m.Environment()
}

// takeStartMarks is for a server that begins.
func takeStartMarks() {
	m := timeline.Inherited()
	if m == nil {
		m = new(timeline.Marks) // started by hand
	}
	m.Append(timeline.Marks{{Name: "server: begins", At: begun}})
	firstMarks.Marks = m
}

// newTimeline is for one container: nil unless it will be logged.
func newTimeline() *timeline.Marks {
	if !log.L.Logger.IsLevelEnabled(log.DebugLevel) {
		return nil
	}
	firstMarks.Lock()
	defer firstMarks.Unlock()
	if m := firstMarks.Marks; m != nil {
		firstMarks.Marks = nil
		return m
	}
	return new(timeline.Marks)
}

// lifeline are the marks of a container after its Create, none unless they will be
// logged. Its methods may be called concurrently.
type lifeline struct {
	mu sync.Mutex
	*timeline.Marks
}

// begin logs where the time of a Create went, and asks for the marks that follow.
func (l *lifeline) begin(ctx context.Context, id string, created *timeline.Marks) {
	if created == nil {
		return
	}
	log.G(ctx).WithField("id", id).WithField("timeline", created.String()).Debug("created")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Marks = new(timeline.Marks)
}

func (l *lifeline) mark(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Add(name)
}

// log tells the same of what followed.
func (l *lifeline) log(ctx context.Context, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Marks != nil {
		log.G(ctx).WithField("id", id).WithField("timeline", l.String()).Debug("deleted")
	}
}
