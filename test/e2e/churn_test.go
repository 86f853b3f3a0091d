package e2e

import (
	"sync"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
)

// The census after each test counts processes, mounts, cgroups, sockets and
// files; these count the daemon's descriptors as well.

func TestManyContainersInARowLeaveNoGrowth(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		h.withoutDescriptorGrowth(t, func() {
			for range theSuite.churn {
				if got := h.probe(t, "hello"); got.Code != 0 || got.Stdout != "hello from probe-c\n" {
					t.Fatalf("%+v", got)
				}
			}
		})
	})
}

func TestTwentyContainersAtATimeLeaveNoGrowth(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		h.withoutDescriptorGrowth(t, func() {
			const atOnce = 20
			next := make(chan struct{})
			var wg sync.WaitGroup
			for range atOnce {
				wg.Go(func() {
					for range next {
						if got := h.probe(t, "hello"); got.Code != 0 || got.Stdout != "hello from probe-c\n" {
							t.Errorf("%+v", got)
						}
					}
				})
			}
			for range theSuite.churn {
				next <- struct{}{}
			}
			close(next)
			wg.Wait()
		})
	})
}

// withoutDescriptorGrowth fails the test when the daemon has more open files
// after the work than before, give or take those of connections that it has not
// yet seen end.
func (h *host) withoutDescriptorGrowth(t *testing.T, work func()) {
	t.Helper()
	const slack = 8
	count := func() int {
		n, err := census.Descriptors(h.Pid())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	h.probe(t, "hello") // whatever the daemon opens once is open now
	before := count()
	work()
	within(t, "the daemon closes its files", func() bool { return count() <= before+slack })
}
