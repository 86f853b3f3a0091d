package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/client"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// settle is how long nothing is asked of shims before they are weighed: what they
// needed to start containers they give back only then.
const settle = 4 * time.Second

// memoryPlace is where containers are, and at which numbers of them they are weighed.
type memoryPlace struct {
	name    string
	shared  bool // one shim for all
	counts  []int
	shim    []*figure // by count, as program
	program []*figure
	// asked is what the shim of the first container takes when it was just asked
	// something: what answers is mapped again, and stays.
	asked *figure
	// more and moreInAll are what a container costs that is added: its process, and
	// that with its share of what shims have grown by, or of further shims.
	more, moreInAll *figure
}

// measureMemory measures the PSS of shims, and apart from it that of what runs in
// the containers (a runner, or the program itself), of containers that wait; what
// holds a Pod is in "pods". A further container costs what the sum has grown by since
// there was one, by the number of containers that were added.
func measureMemory(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	places := []*memoryPlace{{name: "one Pod", shared: true, counts: []int{1, 20}}, {name: "one Pod each", counts: []int{10}}}
	if b.full {
		places[0].counts, places[1].counts = []int{1, 100, 500}, []int{100}
	}
	for _, p := range places {
		for _, n := range p.counts {
			name := fmt.Sprintf("%d in %s", n, p.name)
			p.shim = append(p.shim, newFigure("memory", name, "PSS of a shim", "MiB", names()...))
			p.program = append(p.program, newFigure("memory", name, "PSS of a container's process", "MiB", names()...))
		}
		p.asked = newFigure("memory", "1 in "+p.name, "PSS of a shim that was just asked", "MiB", names()...)
		p.more = newFigure("memory", p.name, "PSS of a further container's process", "MiB", names()...)
		p.moreInAll = newFigure("memory", p.name, "PSS of a further container with its share of shims", "MiB", names()...)
		figures = slices.Concat(figures, p.shim, p.program)
		if p.counts[0] == 1 {
			figures = append(figures, p.asked)
		}
		figures = append(figures, p.more, p.moreInAll)
	}
	places[0].shim[0].Most, places[0].more.Most = most(9), most(1.5)
	return figures, b.withDaemon(ctx, []string{keeperProgram}, func(d *daemon.Daemon) error {
		cl, err := client.New(d.Address(), client.WithDefaultNamespace(d.Namespace))
		if err != nil {
			return err
		}
		defer cl.Close()
		for range b.rounds("memory", rounds) {
			alone := make([]weight, len(contenders)) // with one container
			for _, p := range places {
				if err := p.measure(ctx, cl, d, alone); err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
			}
		}
		return nil
	})
}

// measure starts containers of all contenders until there are as many as each count
// says, and weighs them then. It fills alone when there is one, and removes all.
func (p *memoryPlace) measure(ctx context.Context, cl *client.Client, d *daemon.Daemon, alone []weight) (err error) {
	sets := make([][]*launch, len(contenders))
	defer func() { err = errors.Join(err, removeAll(context.WithoutCancel(ctx), slices.Concat(sets...))) }()
	for k, n := range p.counts {
		for i := range contenders {
			c := &contenders[i]
			group := ""
			if p.shared {
				group = c.group()
			}
			for len(sets[i]) < n {
				l, err := c.prepare(ctx, cl, d, c.ref(keeperProgram), group, nil)
				if err != nil {
					return err
				}
				if err := l.run(ctx); err != nil {
					return err
				}
				sets[i] = append(sets[i], l)
				if l.shim, err = shimOf(ctx, d, l.container.ID()); err != nil {
					return err
				}
			}
		}
		if err := waitFor(ctx, settle); err != nil {
			return err
		}
		for i, set := range sets {
			w, err := weigh(set)
			if err != nil {
				return err
			}
			p.shim[k].add(i, w.shims/float64(w.number))
			p.program[k].add(i, w.programs/float64(n))
			if n == 1 {
				alone[i] = w
				if err := p.ask(ctx, d, i, set[0]); err != nil {
					return err
				}
			} else if k == len(p.counts)-1 {
				p.more.add(i, (w.programs-alone[i].programs)/float64(n-1))
				p.moreInAll.add(i, (w.shims+w.programs-alone[i].shims-alone[i].programs)/float64(n-1))
			}
		}
	}
	return nil
}

// ask weighs the shim of a contender's container again after a call.
func (p *memoryPlace) ask(ctx context.Context, d *daemon.Daemon, i int, l *launch) error {
	if _, err := shimOf(ctx, d, l.container.ID()); err != nil {
		return err
	}
	kib, err := pss(l.shim)
	if err == nil {
		p.asked.add(i, kib/1024)
	}
	return err
}

// weight is the PSS of containers' shims and processes in MiB, and how many shims
// there are.
type weight struct {
	shims, programs float64
	number          int
}

// weigh asks the shims nothing: they are as idle as their containers.
func weigh(all []*launch) (w weight, err error) {
	if w.programs, err = weighPrograms(all); err != nil {
		return w, err
	}
	var pids []int
	for _, l := range all {
		if slices.Contains(pids, l.shim) {
			continue
		}
		pids = append(pids, l.shim)
		kib, err := pss(l.shim)
		if err != nil {
			return w, err
		}
		w.shims += kib / 1024
	}
	w.number = len(pids)
	return w, nil
}

// weighPrograms returns the PSS of the containers' processes together, in MiB.
func weighPrograms(all []*launch) (mib float64, _ error) {
	for _, l := range all {
		kib, err := pss(int(l.task.Pid()))
		if err != nil {
			return 0, err
		}
		mib += kib / 1024
	}
	return mib, nil
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

// removeAll removes containers, several at a time.
func removeAll(ctx context.Context, all []*launch) error {
	const parallel = 8
	failed := make([]error, len(all))
	var wg sync.WaitGroup
	places := make(chan struct{}, parallel)
	for i, l := range slices.Backward(all) { // who came first in a Pod goes last
		places <- struct{}{}
		wg.Go(func() {
			failed[i] = l.remove(ctx)
			<-places
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}
