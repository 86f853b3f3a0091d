package e2e

import (
	"testing"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/typeurl/v2"
)

// taskEvent is an event about a task, as far as tests look at it.
type taskEvent struct {
	topic string
	id    string
	code  uint32 // of an exit
}

// taskEvents returns a function that waits for the next event about a task.
func (h *host) taskEvents(t *testing.T) func() taskEvent {
	t.Helper()
	return h.taskEventsIn(t, h.Namespace)
}

// beginTopic is of an event that says that events arrive.
const beginTopic = "/tasks/test-begins"

// taskEventsIn is taskEvents for a namespace.
func (h *host) taskEventsIn(t *testing.T, namespace string) func() taskEvent {
	t.Helper()
	cl := h.connect(t)
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	stream, errs := cl.Subscribe(ctx, `namespace=="`+namespace+`",topic~="/tasks/.*"`)
	receive := func() *events.Envelope {
		t.Helper()
		select {
		case e := <-stream:
			return e
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatalf("no event within %v", patience)
		}
		return nil
	}
	// The call may not have reached the daemon yet, which knows nobody then.
	begun := make(chan struct{})
	go func() {
		for {
			_ = cl.EventService().Publish(ctx, beginTopic, &apievents.TaskResumed{ContainerID: "none"})
			select {
			case <-begun:
				return
			case <-ctx.Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	var early []*events.Envelope
	for e := receive(); e.Topic != beginTopic; e = receive() {
		early = append(early, e)
	}
	close(begun)
	return func() taskEvent {
		t.Helper()
		var e *events.Envelope
		if len(early) > 0 {
			e, early = early[0], early[1:]
		} else {
			for e = receive(); e.Topic == beginTopic; {
				e = receive()
			}
		}
		v, err := typeurl.UnmarshalAny(e.Event)
		if err != nil {
			t.Fatal(err)
		}
		event := taskEvent{topic: e.Topic}
		if c, ok := v.(interface{ GetContainerID() string }); ok {
			event.id = c.GetContainerID()
		}
		if exit, ok := v.(*apievents.TaskExit); ok {
			event.code = exit.ExitStatus
		}
		return event
	}
}

func TestEventsOfATaskArriveInOrder(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		next := h.taskEvents(t)
		order := []string{"/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"}
		for range 5 {
			want(t, h.probe(t, "exit", "4"), 4, "", "")
			for _, topic := range order {
				e := next()
				if e.topic != topic || e.topic == "/tasks/exit" && e.code != 4 {
					t.Fatalf("got event %+v, want %s", e, topic)
				}
			}
		}
	})
}

func TestOomIsAnEventBeforeTheExit(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		next := h.taskEvents(t)
		got := h.run(t, ctrRun{image: "probe-c", flags: []string{"--memory-limit", "67108864"},
			args: []string{"/probe-c.wasm", "allocate", "256"}})
		if got.Code != 137 {
			t.Errorf("%+v, want exit code 137", got)
		}
		for _, topic := range []string{"/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit"} {
			if e := next(); e.topic != topic {
				t.Fatalf("got event %+v, want %s", e, topic)
			}
		}
	})
}
