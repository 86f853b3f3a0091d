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

// logTimeline tells where the time of a Create went.
func logTimeline(ctx context.Context, id string, m *timeline.Marks) {
	if m != nil {
		log.G(ctx).WithField("id", id).WithField("timeline", m.String()).Debug("created")
	}
}
