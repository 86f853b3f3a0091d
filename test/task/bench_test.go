package task

import (
	"context"
	"fmt"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// BenchmarkTask times each call of a container's life in a running shim, with
// the code cache warm.
func BenchmarkTask(b *testing.B) {
	d := newDaemon(b)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	var create, start, wait, del time.Duration
	var n int
	for b.Loop() {
		b.StopTimer()
		id := fmt.Sprint("c", n)
		n++
		d.bundle(id, wasmtest.Exit(0), nil)
		b.StartTimer()
		began := time.Now()
		s.mustCreate(id)
		created := time.Now()
		s.mustStart(id)
		started := time.Now()
		if _, err := s.Wait(context.Background(), &taskapi.WaitRequest{ID: id}); err != nil {
			b.Fatal(err)
		}
		ended := time.Now()
		if _, err := s.delete(id); err != nil {
			b.Fatal(err)
		}
		create += created.Sub(began)
		start += started.Sub(created)
		wait += ended.Sub(started)
		del += time.Since(ended)
	}
	per := func(t time.Duration) float64 { return float64(t.Microseconds()) / float64(n) }
	b.ReportMetric(per(create), "µs/create")
	b.ReportMetric(per(start), "µs/start")
	b.ReportMetric(per(wait), "µs/wait")
	b.ReportMetric(per(del), "µs/delete")
}
