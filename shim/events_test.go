package shim

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	eventstypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
)

// recorder is a daemon that takes one event at a time, when gate lets it.
type recorder struct {
	gate chan struct{}
	fail error

	mu     sync.Mutex
	topics []string
}

func (r *recorder) Publish(_ context.Context, topic string, _ events.Event) error {
	<-r.gate
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics = append(r.topics, topic)
	return r.fail
}

func (r *recorder) Close() error { return nil }

func TestEventsKeepTheirOrderBehindASlowDaemon(t *testing.T) {
	r := &recorder{gate: make(chan struct{}), fail: errors.New("away")}
	q := newEventQueue(context.Background(), r)
	// None of these may block: the daemon takes nothing yet.
	q.send(&eventstypes.TaskCreate{})
	q.send(&eventstypes.TaskStart{})
	q.send(&eventstypes.TaskExit{})
	q.send(&eventstypes.TaskDelete{})
	close(r.gate)
	if err := q.close(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := []string{"/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"}
	if !slices.Equal(r.topics, want) {
		t.Errorf("published %v, want %v", r.topics, want)
	}
	q.send(&eventstypes.TaskExit{})
	if len(r.topics) != len(want) {
		t.Error("an event was published after the end")
	}
}

func TestClosingTheEventQueueEndsWithItsContext(t *testing.T) {
	r := &recorder{gate: make(chan struct{})}
	q := newEventQueue(context.Background(), r)
	q.send(&eventstypes.TaskExit{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := q.close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(r.gate)
	<-q.done
}
