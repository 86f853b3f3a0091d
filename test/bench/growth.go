package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// measureGrowth measures what a shim keeps of the containers that it had in one Pod,
// one for each round, after a tenth of them has made its pools and heaps what they
// will be.
func measureGrowth(ctx context.Context, b *bench, containers int) (figures []*figure, _ error) {
	quantities := []struct{ name, unit string }{{"descriptors more", ""}, {"threads more", ""}, {"PSS more", "KiB"}}
	for _, q := range quantities {
		f := newFigure("growth", fmt.Sprintf("a shim after %d further containers", containers), q.name, q.unit, names()...)
		f.Apart = true
		figures = append(figures, f)
	}
	return figures, b.withShims(ctx, contenders, "waits", func(shims []*directShim) error {
		for i, s := range shims {
			if err := s.liveMany(ctx, containers/10); err != nil {
				return err
			}
			first, err := s.holdings(ctx)
			if err != nil {
				return err
			}
			if err := s.liveMany(ctx, containers); err != nil {
				return err
			}
			last, err := s.holdings(ctx)
			if err != nil {
				return err
			}
			for k := range quantities {
				figures[k].add(i, last[k]-first[k])
			}
			progress("growth", i+1, len(shims))
		}
		return nil
	})
}

// liveMany runs containers to their ends, some at a time.
func (s *directShim) liveMany(ctx context.Context, n int) error {
	const parallel = 4
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for range n / parallel {
				if ctx.Err() != nil {
					return
				}
				if _, err := s.live(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// holdings are the descriptors, the threads and the PSS in KiB of the shim, once it
// has settled.
func (s *directShim) holdings(ctx context.Context) (h [3]float64, err error) {
	if err := waitFor(ctx, settle); err != nil {
		return h, err
	}
	for k, dir := range []string{"fd", "task"} {
		entries, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(s.pid), dir))
		if err != nil {
			return h, err
		}
		h[k] = float64(len(entries))
	}
	h[2], err = pss(s.pid)
	return h, err
}
