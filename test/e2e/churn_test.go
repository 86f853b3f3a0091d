package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
)

// The census after each test counts processes, mounts, cgroups, sockets and
// files; these count what the daemon and a shim hold as well. Their sizes are
// those of `make churn`, or a small part of them.

func TestManyContainersInARowLeaveNoGrowth(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		h.withoutGrowth(t, h.Pid(), func() {
			for range min(theSuite.churn/4, 100) {
				if got := h.probe(t, "hello"); got.Code != 0 || got.Stdout != "hello from probe-c\n" {
					t.Fatalf("%+v", got)
				}
			}
		})
	})
}

func TestFiftyContainersAtATimeLeaveNoGrowth(t *testing.T) {
	onNewestDaemonAlone(t, func(t *testing.T, h *host) {
		cl := h.connect(t)
		atATime(50, 50, func(int) error { return h.cycle(t, cl, "probe-c", "hello") }) // warm
		h.withoutGrowth(t, h.Pid(), func() {
			if err := atATime(50, theSuite.churn, func(int) error { return h.cycle(t, cl, "probe-c", "hello") }); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestManyExecsInOneContainerLeaveNoGrowth(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "sleep", "600")
		task, _ := c.start(t)
		shim := h.shims(t)[0]
		exec := func(i int) error {
			code, err := execute(t, task, fmt.Sprint("exec", i), "/probe-c.wasm", "exit", fmt.Sprint(i%256))
			if err == nil && code != uint32(i%256) {
				err = fmt.Errorf("process %d has exit code %d", i, code)
			}
			return err
		}
		if err := atATime(10, 50, exec); err != nil {
			t.Fatal(err)
		}
		h.withoutGrowth(t, h.Pid(), func() {
			h.withoutGrowth(t, shim, func() {
				if err := atATime(10, max(theSuite.churn/10, 100), func(i int) error { return exec(50 + i) }); err != nil {
					t.Error(err)
				}
			})
		})
		kill(t, task, syscall.SIGKILL)
		c.conclude(t, task)
	})
}

// One shim sees every container of its Pod, native ones among them.
func TestManyContainersInOnePodLeaveItsShimAsItWas(t *testing.T) {
	onNewestDaemonAlone(t, func(t *testing.T, h *host) {
		h.image(t, "native")
		cl := h.connect(t)
		group := h.NewID("group")
		c := h.newGuest(t, cl, "probe-c", sleeping, inGroup(group))
		task, _ := c.start(t)
		shim := h.shims(t)[0]
		container := func(i int) error {
			if i%25 == 0 {
				return h.cycle(t, cl, "native", "echo", inGroup(group))
			}
			return h.cycle(t, cl, "probe-c", "hello", inGroup(group))
		}
		// The first ones fill the heap to where it stays.
		if err := atATime(5, 50, container); err != nil {
			t.Fatal(err)
		}
		before := pss(t, shim)
		h.withoutGrowth(t, shim, func() {
			if err := atATime(5, max(theSuite.churn/5-50, 150), container); err != nil {
				t.Error(err)
			}
		})
		after := pss(t, shim)
		t.Logf("memory of the shim: %d KiB after 50 containers, %d KiB after all", before, after)
		if float64(after) > 1.1*float64(before) {
			t.Errorf("the shim's memory grew from %d KiB to %d KiB", before, after)
		}
		kill(t, task, syscall.SIGKILL)
		c.conclude(t, task)
	})
}

// cycle takes one container from its creation to its deletion.
func (h *host) cycle(t *testing.T, cl *client.Client, image, verb string, opts ...oci.SpecOpts) (err error) {
	ctx := t.Context()
	img, err := cl.GetImage(ctx, "localhost/"+image+":1")
	if err != nil {
		return err
	}
	id := h.NewID("churn")
	opts = append([]oci.SpecOpts{oci.WithImageConfigArgs(img, []string{verb})}, opts...)
	c, err := cl.NewContainer(ctx, id, client.WithImage(img), client.WithNewSnapshot(id, img),
		client.WithNewSpec(opts...), client.WithRuntime(wasm, nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Delete(ctx, client.WithSnapshotCleanup)) }()
	var out lockedBuffer
	task, err := c.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, &out, &out), cio.WithFIFODir(h.Dir+"/fifo")))
	if err != nil {
		return err
	}
	defer func() {
		_, deleteErr := task.Delete(ctx, client.WithProcessKill)
		err = errors.Join(err, deleteErr)
	}()
	exit, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if err := task.Start(ctx); err != nil {
		return err
	}
	status := <-exit
	task.IO().Wait()
	if status.Error() != nil || status.ExitCode() != 0 || verb == "hello" && out.String() != "hello from probe-c\n" {
		return fmt.Errorf("%s: exit code %d, %v, output %q", id, status.ExitCode(), status.Error(), out.String())
	}
	return nil
}

// execute runs a process in a running task to its end.
func execute(t *testing.T, task client.Task, id string, args ...string) (uint32, error) {
	ctx := t.Context()
	p, err := task.Exec(ctx, id, &specs.Process{Args: args, Cwd: "/"}, cio.NullIO)
	if err != nil {
		return 0, err
	}
	exit, err := p.Wait(ctx)
	if err == nil {
		err = p.Start(ctx)
	}
	if err != nil {
		_, deleteErr := p.Delete(ctx)
		return 0, errors.Join(err, deleteErr)
	}
	status := <-exit
	_, err = p.Delete(ctx)
	return status.ExitCode(), errors.Join(status.Error(), err)
}

// atATime calls f n times, so many at a time, and returns the first errors.
func atATime(workers, n int, f func(i int) error) error {
	var next, failures atomic.Int64
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := f(int(i)); err != nil && failures.Add(1) <= 5 {
					mu.Lock()
					errs = append(errs, fmt.Errorf("%d: %w", i, err))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if n := failures.Load(); n > int64(len(errs)) {
		errs = append(errs, fmt.Errorf("and %d more", n-int64(len(errs))))
	}
	return errors.Join(errs...)
}

// holdings is what a process holds of what it should give back.
type holdings struct {
	files, threads, memory int // memory in KiB
	// goroutines of containerd; 0 for others.
	goroutines int
}

func (h *host) holdings(t *testing.T, pid int) holdings {
	t.Helper()
	files, err := census.Descriptors(pid)
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	x := holdings{files: files, threads: len(threads), memory: pss(t, pid)}
	if pid == h.Pid() {
		if x.goroutines, err = h.Goroutines(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// withoutGrowth fails the test when a process has more open files or goroutines
// after the work than before, give or take those of connections that it has not
// yet seen end. Threads stay in Go, and are as many as system calls at a time.
func (h *host) withoutGrowth(t *testing.T, pid int, work func()) {
	t.Helper()
	const slack = 8
	if pid == h.Pid() {
		h.probe(t, "hello") // whatever the daemon opens once is open now
	}
	before := h.holdings(t, pid)
	work()
	var after holdings
	within(t, "files are closed and goroutines end", func() bool {
		after = h.holdings(t, pid)
		return after.files <= before.files+slack && after.goroutines <= before.goroutines+slack
	})
	t.Logf("process %d before %+v, after %+v", pid, before, after)
}

// pss returns the memory of a process in KiB, shared pages by its share.
func pss(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if rest, ok := strings.CutPrefix(string(line), "Pss:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatalf("no Pss of %d in %s", pid, b)
	return 0
}
