package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/typeurl/v2"

	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

// connections is how many requests are under way at any time.
const connections = 64

// served is what a server did in one round.
type served struct {
	rate          float64 // answers per second
	median, p99   float64 // time to an answer in µs
	cpuPerRequest float64 // processor time of the server's cgroup in µs
}

// loadFigures are the figures of a server, in the order of served.add.
func loadFigures(measurement, name string, target float64) []*figure {
	rate := newFigure(measurement, name, "answers", "/s", names()...)
	rate.MoreIsGood, rate.Target = true, target
	return []*figure{
		rate,
		newFigure(measurement, name, "time to answer, p50", "µs", names()...),
		newFigure(measurement, name, "time to answer, p99", "µs", names()...),
		newFigure(measurement, name, "CPU per answer", "µs", names()...),
	}
}

func (s *served) add(figures []*figure, contender int) {
	for i, v := range []float64{s.rate, s.median, s.p99, s.cpuPerRequest} {
		figures[i].add(contender, v)
	}
}

// measureServer runs the client, which start starts, against the server in a task.
func measureServer(ctx context.Context, task client.Task, cmd *exec.Cmd, start func(*exec.Cmd) error) (*served, error) {
	before, err := processorTime(ctx, task)
	if err != nil {
		return nil, err
	}
	out, err := runClient(cmd, start)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", cmd.Args, err)
	}
	after, err := processorTime(ctx, task)
	if err != nil {
		return nil, err
	}
	var count, elapsed, median, p90, p99 float64
	if _, err := fmt.Sscan(string(out), &count, &elapsed, &median, &p90, &p99); err != nil || count == 0 {
		return nil, fmt.Errorf("%v: %q: %w", cmd.Args, out, err)
	}
	return &served{
		rate: count / elapsed * 1e9, median: median / 1e3, p99: p99 / 1e3,
		cpuPerRequest: float64((after - before).Microseconds()) / count,
	}, nil
}

// runClient returns what the client prints. It gets the greatest weight, as the
// servers do; without a session of its own it would share that of its caller.
func runClient(cmd *exec.Cmd, start func(*exec.Cmd) error) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := start(cmd); err != nil {
		return nil, err
	}
	// Kernels without groups by session have no such file.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte("-20"), 0)
	err := cmd.Wait()
	return out.Bytes(), err
}

// processorTime is what the task's cgroup has used.
func processorTime(ctx context.Context, task client.Task) (time.Duration, error) {
	metric, err := task.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	data, err := typeurl.UnmarshalAny(metric.Data)
	if err != nil {
		return 0, err
	}
	return usage.CPU(data)
}
