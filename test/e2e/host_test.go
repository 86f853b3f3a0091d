package e2e

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

const (
	wasm = "io.containerd.wasm.v1"
	runc = "io.containerd.runc.v2"

	// patience is for things that containerd or the kernel do a little later
	// than they answer, such as removing a cgroup or collecting garbage. It is only
	// ever used up by what never comes, however loaded the machine.
	patience = time.Minute
	// runTime is far beyond what a run takes, and beyond a disk that is busy with
	// what was built before.
	runTime = 2 * time.Minute
)

// host is a daemon with what tests do to it.
type host struct {
	*daemon.Daemon
	kind     kind
	mu       sync.Mutex
	imported map[string]bool
}

// startHost starts a containerd of that kind.
func startHost(ctx context.Context, k kind) (*host, error) {
	s := &theSuite
	p, err := s.programs(ctx, k.version)
	if err != nil {
		return nil, err
	}
	h := &host{kind: k, imported: map[string]bool{}}
	if k.handler == "" {
		h.Daemon, err = daemon.Start(ctx, k.version, p)
		return h, err
	}
	if os.Getenv("E2E_SHIPPED") == "" { // where only limits are tested
		if p.Network, err = s.store.PodNetwork(ctx); err != nil {
			return nil, err
		}
	}
	h.Daemon, err = daemon.StartCRI(ctx, k.version, p, pauseImage)
	return h, err
}

// end stops the daemon and returns what is left of its containers, and what
// went wrong.
func (h *host) end() []string {
	left, err := h.Stop(context.Background())
	if err != nil {
		left = append(left, err.Error())
	}
	return left
}

// onEachDaemon runs the test once for every containerd version, on a daemon that
// it has from the pool, and fails it if it leaves anything. All versions and all
// tests run side by side, as many as `go test -parallel` says.
func onEachDaemon(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	forEachVersion(t, func(t *testing.T, version string) { onSharedDaemon(t, version, test) })
}

// onNewestDaemon is onEachDaemon for what no containerd has to do with.
func onNewestDaemon(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	forVersions(t, theSuite.versions[:1], func(t *testing.T, version string) { onSharedDaemon(t, version, test) })
}

// onNewestDaemonAlone is onNewestDaemon with nothing beside it: for tests that
// take the whole machine, or measure what others would change.
func onNewestDaemonAlone(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	forVersionsInTurn(t, theSuite.versions[:1], func(t *testing.T, version string) { onSharedDaemon(t, version, test) })
}

func onSharedDaemon(t *testing.T, version string, test func(t *testing.T, h *host)) {
	t.Helper()
	h := borrow(t, kind{version: version})
	h.image(t, "probe-c") // unpacked images are no leaks: have the usual one
	h.check(t, func() { test(t, h) })
}

// onOwnDaemon is onEachDaemon for tests that stop their daemon.
func onOwnDaemon(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	forEachVersion(t, func(t *testing.T, version string) { onDaemonOfItsOwn(t, version, test) })
}

func onDaemonOfItsOwn(t *testing.T, version string, test func(t *testing.T, h *host)) {
	t.Helper()
	h := own(t, kind{version: version})
	h.image(t, "probe-c")
	h.check(t, func() { test(t, h) })
}

func forEachVersion(t *testing.T, test func(t *testing.T, version string)) {
	t.Helper()
	forVersions(t, theSuite.versions, test)
}

// forVersions runs the test once for each of the versions, beside other tests.
func forVersions(t *testing.T, versions []string, test func(t *testing.T, version string)) {
	t.Helper()
	needsPrograms(t)
	t.Parallel()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, version)
		})
	}
}

// forVersionsInTurn is forVersions with no test beside it.
func forVersionsInTurn(t *testing.T, versions []string, test func(t *testing.T, version string)) {
	t.Helper()
	needsPrograms(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}

func needsPrograms(t *testing.T) {
	t.Helper()
	if theSuite.bin == "" {
		t.Skip("E2E_BIN is not set: run `make e2e`")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// check runs the test between two censuses, and ends it when it does not end.
func (h *host) check(t *testing.T, test func()) {
	t.Helper()
	logged := len(h.Log())
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		log := h.Log()[logged:]
		if os.Getenv("E2E_KEEP") == "" {
			log = daemon.Complaints(log)
		}
		t.Logf("log of containerd %s:\n%s", h.Version, log)
	})
	before := h.census(t)
	t.Cleanup(func() {
		if h.Pid() == 0 {
			return
		}
		if left := h.leftSince(t, before); len(left) > 0 {
			t.Errorf("left after the test:\n%s", strings.Join(left, "\n"))
		}
	})
	// Whatever a test waits for is a process of its daemon or tells of one. Those
	// killed, it goes on to fail by name, long before the whole run times out.
	watchdog := time.AfterFunc(theSuite.longest, func() {
		t.Errorf("%s has not ended in %v: its daemon and all of its containers are killed", t.Name(), theSuite.longest)
		_ = syscall.Kill(h.Pid(), syscall.SIGKILL)
		_ = h.Scope().Sweep()
	})
	t.Cleanup(func() { watchdog.Stop() })
	test()
}

// census is what there is of the daemon's containers: on the machine, and in its
// own records.
func (h *host) census(t *testing.T) census.Census {
	t.Helper()
	c, err := census.Take(h.Scope())
	if err != nil {
		t.Fatal(err)
	}
	if h.Pid() == 0 {
		return c
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	records, err := h.records(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return sorted(c, records)
}

// leftSince returns what is there now and was not before, when patience ends.
func (h *host) leftSince(t *testing.T, before census.Census) []string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var left []string
		for _, line := range h.census(t).Since(before) {
			if !h.Stays(line) {
				left = append(left, line)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeAll takes what a failed test left, so that the next is not blamed.
func (h *host) removeAll(t *testing.T) {
	t.Helper()
	if err := h.Scope().Sweep(); err != nil {
		t.Error(err)
	}
	ctx := context.Background()
	for _, id := range strings.Fields(h.Ctr(ctx, "tasks", "ls", "-q").Stdout) {
		h.Ctr(ctx, "tasks", "rm", "-f", id)
	}
	for _, id := range strings.Fields(h.Ctr(ctx, "containers", "ls", "-q").Stdout) {
		h.Ctr(ctx, "containers", "rm", id)
	}
	for _, id := range strings.Fields(h.Ctr(ctx, "leases", "ls", "-q").Stdout) {
		h.Ctr(ctx, "leases", "rm", id)
	}
	for _, line := range h.census(t) {
		path, isFile := strings.CutPrefix(line, "file ")
		if isFile && (strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, h.Dir+"/fifo/")) {
			_ = os.RemoveAll(path)
		}
	}
	within(t, "killed processes leave their cgroups", func() bool { return h.Scope().RemoveCgroups() == nil })
}

// ctrRun is one `ctr run --rm` with its flags; the image's name is that of a guest.
type ctrRun struct {
	flags []string
	image string
	args  []string // after the container's id
	stdin string
	// runtime is the Wasm runtime when empty.
	runtime string
}

// run runs a container to its end.
func (h *host) run(t *testing.T, r ctrRun) daemon.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	if r.runtime == "" {
		r.runtime = wasm
	}
	ref := h.image(t, r.image)
	args := append([]string{"run", "--rm", "--runtime", r.runtime}, r.flags...)
	args = append(args, ref, h.NewID(r.image))
	args = append(args, r.args...)
	if r.stdin == "" {
		return h.Ctr(ctx, args...)
	}
	return h.CtrInput(ctx, strings.NewReader(r.stdin), args...)
}

// probe runs the C probe with a verb.
func (h *host) probe(t *testing.T, args ...string) daemon.Result {
	t.Helper()
	return h.run(t, ctrRun{image: "probe-c", args: append([]string{"/probe-c.wasm"}, args...)})
}

// want fails the test unless the result is exactly this.
func want(t *testing.T, got daemon.Result, code int, stdout, stderr string) {
	t.Helper()
	if got.Code != code || got.Stdout != stdout || got.Stderr != stderr {
		t.Errorf("got exit code %d, stdout %q, stderr %q; want %d, %q, %q",
			got.Code, got.Stdout, got.Stderr, code, stdout, stderr)
	}
}

// within waits until the condition holds, and fails the test when patience ends.
func within(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
