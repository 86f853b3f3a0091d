package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// rateCase is how many containers live at a time and where.
type rateCase struct {
	parallel int
	place    string
}

// measureRate measures how many containers a second come and go: from Create over
// the output of a small program to Delete, at containerd. The containers' records
// and snapshots, which are containerd's own work, are made before.
func measureRate(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	const program = "hello-c"
	all := b.all
	var cases []rateCase
	for _, place := range []string{"one Pod", "one Pod each"} {
		for _, parallel := range []int{1, 4, 16} {
			cases = append(cases, rateCase{parallel, place})
			f := newFigure("rate", fmt.Sprintf("%d in parallel, %s", parallel, place), "containers", "/s", namesOf(all)...)
			f.MoreIsGood = true
			figures = append(figures, f)
		}
	}
	return figures, b.withDaemon(ctx, []string{program, keeperProgram}, func(d *daemon.Daemon) (err error) {
		cl, err := client.New(d.Address(), client.WithDefaultNamespace(d.Namespace))
		if err != nil {
			return err
		}
		defer cl.Close()
		for i := range all {
			keeper, err := all[i].keep(ctx, cl, d)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, keeper.remove(context.WithoutCancel(ctx))) }()
		}
		for range b.rounds("rate", rounds) {
			for k, rc := range cases {
				for i := range all {
					rate, err := rc.measure(ctx, cl, d, &all[i], program)
					if err != nil {
						return fmt.Errorf("%s: %s: %w", all[i].name, figures[k].Case, err)
					}
					figures[k].add(i, rate)
				}
			}
		}
		return nil
	})
}

// measure returns how many containers lived in a second.
func (rc rateCase) measure(ctx context.Context, cl *client.Client, d *daemon.Daemon, c *contender, program string) (rate float64, err error) {
	group := c.group()
	if rc.place != "one Pod" {
		group = ""
	}
	queue := make(chan *launch, max(rc.parallel, 4))
	var all []*launch
	defer func() {
		for _, l := range all {
			err = errors.Join(err, l.remove(context.WithoutCancel(ctx)))
		}
	}()
	for range cap(queue) {
		l, err := c.prepare(ctx, cl, d, c.ref(program), group, nil)
		if err != nil {
			return 0, err
		}
		all = append(all, l)
		queue <- l
	}
	close(queue)
	var wg sync.WaitGroup
	failed := make([]error, rc.parallel)
	began := time.Now()
	for i := range rc.parallel {
		wg.Go(func() {
			for l := range queue {
				if failed[i] = l.live(ctx); failed[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(len(all)) / time.Since(began).Seconds(), errors.Join(failed...)
}

// live runs the task to its end and deletes it.
func (l *launch) live(ctx context.Context) error {
	if err := l.create(ctx); err != nil {
		return err
	}
	if err := errors.Join(l.start(ctx), l.ended(ctx)); err != nil {
		return err
	}
	_, err := l.task.Delete(ctx)
	if err == nil {
		l.task = nil
	}
	return err
}
