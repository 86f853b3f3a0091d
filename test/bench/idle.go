package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
)

// measureIdle measures what containers cost that do nothing: processor time of shim
// and program in idle time, and of the Stats calls of whoever watches them.
func measureIdle(ctx context.Context, b *bench, rounds int) ([]*figure, error) {
	wait, calls := 6*time.Second, 200
	if b.full {
		wait, calls = time.Minute, 2000
	}
	all := b.all
	name := namesOf(all)
	const idle = "a container that waits"
	program := newFigure("idle", idle, "CPU of its process in a minute", "ms", name...)
	program.Most, program.Apart = most(0), true
	shim := newFigure("idle", idle, "CPU of its shim in a minute", "ms", name...)
	shim.Apart = true
	took := newFigure("idle", "Stats", "mean time of a call", "ms", name...)
	cost := newFigure("idle", "Stats", "mean CPU of the shim for a call", "ms", name...)
	return []*figure{program, shim, took, cost}, b.withShims(ctx, all, "waits", func(shims []*directShim) error {
		for round := range b.rounds("idle", rounds) {
			for i, s := range shims {
				before, err := processorTimeOf(s.pid)
				if err != nil {
					return err
				}
				began := time.Now()
				for range calls {
					if err := s.call(ctx, "Stats", &taskapi.StatsRequest{ID: s.keeper.container.ID()}, &taskapi.StatsResponse{}); err != nil {
						return err
					}
				}
				took.add(i, milliseconds(time.Since(began))/float64(calls))
				after, err := processorTimeOf(s.pid)
				if err != nil {
					return err
				}
				cost.add(i, milliseconds(after-before)/float64(calls))
			}
			if round > 0 && !b.full {
				continue
			}
			// All wait for the same time, in which none is disturbed.
			if err := waitFor(ctx, settle); err != nil {
				return err
			}
			before, err := idleTimes(shims)
			if err != nil {
				return err
			}
			if err := waitFor(ctx, wait); err != nil {
				return err
			}
			after, err := idleTimes(shims)
			if err != nil {
				return err
			}
			for i := range shims {
				program.add(i, milliseconds(after[i][0]-before[i][0])*float64(time.Minute)/float64(wait))
				shim.add(i, milliseconds(after[i][1]-before[i][1])*float64(time.Minute)/float64(wait))
			}
		}
		return nil
	})
}

// idleTimes are the processor times of each keeper and its shim.
func idleTimes(shims []*directShim) (times [][2]time.Duration, _ error) {
	for _, s := range shims {
		program, err := processorTimeOf(int(s.keeper.task.Pid()))
		if err != nil {
			return nil, err
		}
		shim, err := processorTimeOf(s.pid)
		if err != nil {
			return nil, err
		}
		times = append(times, [2]time.Duration{program, shim})
	}
	return times, nil
}

// processorTimeOf is what the threads of a process have run, to the ns. Threads that
// have ended do not count; those of Go stay.
func processorTimeOf(pid int) (sum time.Duration, _ error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		ran, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(ns)
	}
	if len(threads) == 0 {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, os.ErrNotExist)
	}
	return sum, nil
}
