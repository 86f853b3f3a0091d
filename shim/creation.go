package shim

import (
	"context"

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
