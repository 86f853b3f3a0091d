package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// kind is what daemons have in common that can stand for each other.
type kind struct {
	version string
	// handler is the runtime of its Pods; empty without the service for kubelet.
	handler string
}

// pool has the daemons that tests share. A test has one to itself, so that what
// is left afterwards can only be its own, and the next test takes it over. There
// are as many of a kind as tests want at a time.
type pool struct {
	mu   sync.Mutex
	free map[kind][]*host
	all  map[*host]bool
}

// take returns a daemon that nobody uses.
func (p *pool) take(ctx context.Context, k kind) (*host, error) {
	p.mu.Lock()
	if n := len(p.free[k]); n > 0 {
		h := p.free[k][n-1]
		p.free[k] = p.free[k][:n-1]
		p.mu.Unlock()
		return h, nil
	}
	p.mu.Unlock()
	h, err := startHost(ctx, k)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[h] = true
	return h, nil
}

func (p *pool) giveBack(h *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free[h.kind] = append(p.free[h.kind], h)
}

// stop ends one daemon and returns what it finds left of its containers.
func (p *pool) stop(h *host) []string {
	p.mu.Lock()
	delete(p.all, h)
	p.mu.Unlock()
	return h.end()
}

// stopAll ends all of them, those in use too, and returns what is left.
func (p *pool) stopAll() (left []string) {
	p.mu.Lock()
	all := p.all
	p.all, p.free = map[*host]bool{}, map[kind][]*host{}
	p.mu.Unlock()
	for h := range all {
		for _, line := range h.end() {
			left = append(left, fmt.Sprintf("%s %s: %s", h.kind.version, h.kind.handler, line))
		}
	}
	return left
}

// borrow takes a daemon from the pool until the test ends. After a test that
// failed nobody gets it again.
func borrow(t *testing.T, k kind) *host {
	t.Helper()
	p := &theSuite.pool
	h, err := p.take(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			p.giveBack(h)
		} else if left := p.stop(h); len(left) > 0 {
			t.Logf("left when its daemon stopped:\n%s", strings.Join(left, "\n"))
		}
	})
	return h
}

// own starts a daemon for the test alone, which may kill it and do to it what it
// wants. Whatever is left when the daemon stops fails the test.
func own(t *testing.T, k kind) *host {
	t.Helper()
	p := &theSuite.pool
	h, err := startHost(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.all[h] = true
	p.mu.Unlock()
	t.Cleanup(func() {
		if left := p.stop(h); len(left) > 0 {
			t.Errorf("left when its daemon stopped:\n%s", strings.Join(left, "\n"))
		}
	})
	return h
}
