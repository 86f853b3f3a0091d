package shim

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// creation is a Create under way.
type creation struct {
	// cancel ends it with a cause, if it has not ended.
	cancel context.CancelCauseFunc
	// ended is closed when it has settled.
	ended chan struct{}
}

// errAbandoned ends a Create whose daemon has given up on it.
var errAbandoned = errdefs.ErrAborted.WithMessage("the container was deleted while it was created")

// abandon ends the Create of that id, if one is under way, and returns when
// nothing is left of it or ctx ends. A daemon whose client is gone says so by a
// Delete alone: ttrpc knows deadlines, and no cancellation.
func (s *service) abandon(ctx context.Context, id string) {
	s.mu.Lock()
	creation := s.creating[id]
	s.mu.Unlock()
	if creation == nil {
		return
	}
	creation.cancel(errAbandoned)
	select {
	case <-creation.ended:
	case <-ctx.Done():
	}
}

// reserve claims the id for a Create, whose context it returns; the caller calls
// settle in the end.
func (s *service) reserve(ctx context.Context, id string) (context.Context, error) {
	s.serveFirst.Do(func() { close(s.served) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.containers[id]; ok || s.native.has(id) {
		return nil, errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("container %s exists already", id))
	}
	s.containers[id] = nil
	s.ending = false
	c := &creation{ended: make(chan struct{})}
	ctx, c.cancel = context.WithCancelCause(ctx)
	s.creating[id] = c
	return ctx, nil
}

// settle ends a reservation: with the container, or with nil when there is none.
// It refuses the container, and returns false, when nobody waits for it any more.
func (s *service) settle(ctx context.Context, id string, c *container) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil {
		if ctx.Err() != nil {
			return false
		}
		s.containers[id] = c
		s.ending = false
	} else {
		delete(s.containers, id)
	}
	s.endCreation(id)
	if s.ending && len(s.containers) == 0 && s.native.empty() && s.pod == nil {
		s.shutdown.Shutdown()
	}
	return true
}

// endCreation lets those go on who wait for the end of a Create. mu is held.
func (s *service) endCreation(id string) {
	if creation, ok := s.creating[id]; ok {
		creation.cancel(nil)
		close(creation.ended)
		delete(s.creating, id)
	}
}
