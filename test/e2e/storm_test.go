package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
)

// stormSeed decides who is killed and who is cancelled when.
const stormSeed = 7

// A hundred containers at once, each in a shim of its own and then all in one,
// some of which are killed or whose creation is cancelled.
func TestFaultAHundredConcurrentCreates(t *testing.T) {
	onFaultDaemonAlone(t, func(t *testing.T, h *host) {
		for _, inOnePod := range []bool{false, true} {
			t.Run(fmt.Sprint("in one pod ", inOnePod), func(t *testing.T) {
				before := h.census(t)
				cl := h.connect(t)
				var opts []oci.SpecOpts
				var first *container
				if inOnePod {
					group := h.NewID("group")
					opts = append(opts, inGroup(group))
					first = h.newGuest(t, cl, "probe-c", sleeping, opts...)
				}
				var firstTask client.Task
				if first != nil {
					firstTask, _ = first.start(t)
				}
				const n = 100
				random := rand.New(rand.NewPCG(stormSeed, 0))
				var guests []*container
				var plans []plan
				for range n {
					guests = append(guests, h.newGuest(t, cl, "probe-c", sleeping, opts...))
					plans = append(plans, plan{random.IntN(3), time.Duration(random.IntN(4000)) * time.Millisecond})
				}
				err := atATime(n, n, func(i int) error { return guests[i].stormy(t, plans[i]) })
				if err != nil {
					t.Error(err)
				}
				for _, c := range guests {
					c.conclude(t, nil)
				}
				if first != nil {
					(&pod{host: h}).assertRunning(t, first)
					first.conclude(t, firstTask)
				}
				h.assertUsable(t)
				// A creator whose patience ends may take the shim's start with it.
				h.removeDeadSockets(t, before)
				h.assertNothingLeft(t, before)
			})
		}
	})
}

// plan is what happens to one container of a storm: 0 is nothing, 1 a SIGKILL
// and 2 the end of its creator's patience, after the moment.
type plan struct {
	what   int
	moment time.Duration
}

// stormy creates, starts and kills the container by a plan. Only what the plan
// spoils may fail.
func (c *container) stormy(t *testing.T, p plan) error {
	ctx := t.Context()
	if p.what == 2 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.moment)
		defer cancel()
	}
	task, err := c.NewTask(ctx, cio.NullIO)
	if err == nil {
		if p.what == 1 {
			go func() {
				time.Sleep(p.moment)
				killPid(int(task.Pid()))
			}()
		}
		err = task.Start(ctx)
	}
	if p.what != 0 {
		return nil // it may have failed
	}
	if err != nil {
		return err
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if err := task.Kill(ctx, syscall.SIGTERM); err != nil {
		return err
	}
	if status := <-exit; status.ExitCode() != 143 || status.Error() != nil {
		return fmt.Errorf("exit code %d: %v", status.ExitCode(), status.Error())
	}
	return nil
}

// ctr is killed at moments of `ctr run`; what it has begun can be removed.
func TestFaultTheClientIsKilled(t *testing.T) {
	onFaultDaemon(t, func(t *testing.T, h *host) {
		for _, args := range [][]string{{"sleep", "600"}, {"pour", "1", "100000000"}} {
			for _, m := range moments() {
				t.Run(args[0]+" "+moment(m), func(t *testing.T) {
					before := h.census(t)
					id := h.NewID("client")
					ctx, cancel := context.WithCancel(t.Context())
					cmd := h.Command(ctx, append([]string{"run", "--rm", "--runtime", wasm, h.image(t, "probe-c"), id, "/probe-c.wasm"}, args...)...)
					var out lockedBuffer
					cmd.Stdout, cmd.Stderr = &out, &out
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Duration(m * float64(500*time.Millisecond))) // the moment is the input
					cancel()                                                     // SIGKILL
					_ = cmd.Wait()
					// The call of a dead client ends with its connection.
					within(t, "what the client began is removed", func() bool {
						h.Ctr(t.Context(), "tasks", "rm", "-f", id)
						h.Ctr(t.Context(), "containers", "rm", id)
						h.Ctr(t.Context(), "snapshots", "rm", id)
						return !strings.Contains(h.Ctr(t.Context(), "containers", "ls", "-q").Stdout, id)
					})
					h.removeLeases(t)
					h.removeFIFOs(t)
					h.removeDeadSockets(t, before) // its end may take the shim's start with it
					h.assertNothingLeft(t, before)
					h.assertUsable(t)
				})
			}
		}
	})
}

// removeFIFOs removes those of a client that was killed, which are its own.
func (h *host) removeFIFOs(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(h.Dir, "fifo", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}
