package shim

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/log"
)

// eventQueue publishes events in the order in which they were sent.
//
// The publisher blocks for seconds when the daemon is away, so send never
// publishes itself: callers hold locks whose order makes the order of events.
type eventQueue struct {
	publisher events.Publisher

	mu      sync.Mutex
	wake    *sync.Cond // signalled when pending or closed changes
	pending []any      // guarded by mu
	closed  bool       // guarded by mu
	done    chan struct{}
}

// newEventQueue starts the queue; close ends it. ctx carries the namespace.
func newEventQueue(ctx context.Context, publisher events.Publisher) *eventQueue {
	q := &eventQueue{publisher: publisher, done: make(chan struct{})}
	q.wake = sync.NewCond(&q.mu)
	// The last events are published while the server's context ends.
	go q.run(context.WithoutCancel(ctx))
	return q
}

// send queues an event and returns at once. After close it drops the event.
func (q *eventQueue) send(event any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.pending = append(q.pending, event)
	q.wake.Signal()
}

// close publishes what is queued and ends the queue. It returns when that is
// done or ctx ends.
func (q *eventQueue) close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.wake.Signal()
	q.mu.Unlock()
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *eventQueue) run(ctx context.Context) {
	defer close(q.done)
	for {
		q.mu.Lock()
		for len(q.pending) == 0 && !q.closed {
			q.wake.Wait()
		}
		batch := q.pending
		q.pending = nil
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, event := range batch {
			topic := runtime.GetTopic(event)
			if err := q.publisher.Publish(ctx, topic, event); err != nil {
				log.G(ctx).WithError(err).WithField("topic", topic).Error("publish event")
			}
		}
	}
}
