package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/client"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// memoryFigures are the figures of one place and contenders, by the number of
// containers.
type memoryFigures struct {
	shim, program map[int]*figure
	further       *figure
}

// measureMemory measures the PSS of shims, and apart from it that of what runs in
// the containers (a runner, or the program itself), of containers that wait; what
// holds a Pod is in "pods". A further container costs what the sum grows by, by the
// number of containers that were added.
func measureMemory(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	const program = "waits"
	one, each := []int{1, 20}, []int{1, 10}
	if b.full {
		one, each = []int{1, 100, 500}, []int{1, 100}
	}
	figuresOf := func(place string, counts []int) *memoryFigures {
		m := &memoryFigures{shim: map[int]*figure{}, program: map[int]*figure{}}
		for _, n := range counts {
			name := fmt.Sprintf("%d in %s", n, place)
			m.shim[n] = newFigure("memory", name, "PSS of a shim", "MiB", names()...)
			m.program[n] = newFigure("memory", name, "PSS of a container's process", "MiB", names()...)
			figures = append(figures, m.shim[n], m.program[n])
		}
		m.further = newFigure("memory", place, "PSS of a further container with its share of shims", "MiB", names()...)
		figures = append(figures, m.further)
		return m
	}
	inOne, inEach := figuresOf("one Pod", one), figuresOf("one Pod each", each)
	inOne.shim[1].Most = most(9)
	inOne.further.Most = most(1.5)
	return figures, b.withDaemon(ctx, []string{program}, func(d *daemon.Daemon) error {
		cl, err := client.New(d.Address(), client.WithDefaultNamespace(d.Namespace))
		if err != nil {
			return err
		}
		defer cl.Close()
		for round := range b.rounds("memory", rounds) {
			for i := range contenders {
				c := &contenders[i]
				if err := inOne.measure(ctx, cl, d, c, i, c.ref(program), fmt.Sprint(c.group(), round), one); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				if err := inEach.measure(ctx, cl, d, c, i, c.ref(program), "", each); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
		}
		return nil
	})
}

// measure starts containers until there are as many as each of counts says, and
// weighs them then.
func (m *memoryFigures) measure(ctx context.Context, cl *client.Client, d *daemon.Daemon, c *contender, series int, ref, group string, counts []int) (err error) {
	var all []*launch
	defer func() { err = errors.Join(err, removeAll(context.WithoutCancel(ctx), all)) }()
	var sums []float64
	for _, n := range counts {
		for len(all) < n {
			l, err := c.prepare(ctx, cl, d, ref, group, nil)
			if err != nil {
				return err
			}
			if err := l.run(ctx); err != nil {
				return err
			}
			all = append(all, l)
		}
		shims, programs, number, err := weigh(ctx, d, all)
		if err != nil {
			return err
		}
		m.shim[n].add(series, shims/float64(number))
		m.program[n].add(series, programs/float64(n))
		sums = append(sums, shims+programs)
	}
	last := len(counts) - 1
	m.further.add(series, (sums[last]-sums[0])/float64(counts[last]-counts[0]))
	return nil
}

// weigh returns the PSS of the containers' shims and processes in MiB, and how many
// shims there are.
func weigh(ctx context.Context, d *daemon.Daemon, all []*launch) (shims, programs float64, number int, _ error) {
	var pids []int
	for _, l := range all {
		kib, err := pss(int(l.task.Pid()))
		if err != nil {
			return 0, 0, 0, err
		}
		programs += kib / 1024
		pid, err := shimOf(ctx, d, l.container.ID())
		if err != nil {
			return 0, 0, 0, err
		}
		if slices.Contains(pids, pid) {
			continue
		}
		pids = append(pids, pid)
		if kib, err = pss(pid); err != nil {
			return 0, 0, 0, err
		}
		shims += kib / 1024
	}
	return shims, programs, len(pids), nil
}

// shimOf returns the pid of a container's shim.
func shimOf(ctx context.Context, d *daemon.Daemon, id string) (int, error) {
	cl, service, err := dialShim(d, id)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	s := &directShim{contender: &contender{name: id}, d: d, client: cl, service: service}
	var connected taskapi.ConnectResponse
	err = s.call(ctx, "Connect", &taskapi.ConnectRequest{ID: id}, &connected)
	return int(connected.ShimPid), err
}

// removeAll removes containers, several at a time. Who comes first in a Pod goes
// last.
func removeAll(ctx context.Context, all []*launch) error {
	const parallel = 8
	failed := make([]error, len(all))
	var wg sync.WaitGroup
	places := make(chan struct{}, parallel)
	for i := len(all) - 1; i > 0; i-- {
		places <- struct{}{}
		wg.Go(func() {
			failed[i] = all[i].remove(ctx)
			<-places
		})
	}
	wg.Wait()
	if len(all) > 0 {
		failed[0] = all[0].remove(ctx)
	}
	return errors.Join(failed...)
}
