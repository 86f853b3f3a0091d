package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
)

// onFaultDaemon is onOwnDaemon for the tests that break things, which take long:
// on the newest containerd alone, unless `make faults` asks for all of them.
func onFaultDaemon(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	forVersions(t, faultVersions(), func(t *testing.T, version string) { onDaemonOfItsOwn(t, version, test) })
}

// onFaultDaemonAlone is onFaultDaemon with nothing beside it: for tests that take
// the whole machine, or hunt what lives for milliseconds.
func onFaultDaemonAlone(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	forVersionsInTurn(t, faultVersions(), func(t *testing.T, version string) { onDaemonOfItsOwn(t, version, test) })
}

func faultVersions() []string {
	if theSuite.faults {
		return theSuite.versions
	}
	return theSuite.versions[:1]
}

// moments are fractions of what a call takes, at which something is killed.
func moments() []float64 {
	if theSuite.faults {
		return []float64{0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1}
	}
	return []float64{0, .4, .8}
}

// a proc is a process as those who hunt it see it.
type proc struct {
	pid  int
	exe  string
	argv []string
}

// is says whether the process runs the program as that subcommand.
func (p proc) is(program, subcommand string) bool {
	return filepath.Base(p.argv[0]) == program && slices.Contains(p.argv[1:], subcommand)
}

// isRunner says whether it is the process of a Wasm container.
func (p proc) isRunner() bool {
	return filepath.Base(p.argv[0]) == "wasm-runner" && !p.is("wasm-runner", "compile")
}

// procs lists the processes that run the daemon's own executables and runc's.
func (h *host) procs(t *testing.T) []proc {
	t.Helper()
	dir, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	var all []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		exe, err := os.Readlink("/proc/" + name + "/exe")
		if err != nil {
			continue
		}
		b, _ := os.ReadFile("/proc/" + name + "/cmdline")
		ours := strings.HasPrefix(exe, h.Dir+"/bin/")
		switch {
		case exe == "/": // a runner, whose executable is no file of its root
			b, _ := os.ReadFile("/proc/" + name + "/cgroup")
			ours = strings.Contains(string(b), "/"+h.Namespace+"/")
		case filepath.Base(exe) == "runc":
			ours = strings.Contains(string(b), h.Namespace)
		}
		if ours {
			all = append(all, proc{pid, exe, strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")})
		}
	}
	return all
}

// hunt kills the first process that matches as soon as it is there. It returns a
// function that ends the hunt and says whether there was one.
func (h *host) hunt(t *testing.T, matches func(proc) bool) (killed func() bool) {
	stop, found := make(chan struct{}), make(chan bool, 1)
	go func() {
		for {
			for _, p := range h.procs(t) {
				if matches(p) && killPid(p.pid) {
					found <- true
					return
				}
			}
			select {
			case <-stop:
				found <- false
				return
			case <-time.After(50 * time.Microsecond): // /proc tells nobody
			}
		}
	}()
	return func() bool {
		close(stop)
		return <-found
	}
}

// huntAgain repeats work until somebody was killed in it: what lives for a few
// milliseconds may not be seen on a busy machine.
func (h *host) huntAgain(t *testing.T, matches func(proc) bool, work func()) {
	t.Helper()
	for range 20 {
		killed := h.hunt(t, matches)
		work()
		if killed() {
			return
		}
	}
	t.Error("there was nobody to kill")
}

func killPid(pid int) bool { return unix.Kill(pid, unix.SIGKILL) == nil }

// newGuest makes a container of that image with a client of the caller's.
func (h *host) newGuest(t *testing.T, cl *client.Client, image string, args []string, opts ...oci.SpecOpts) *container {
	t.Helper()
	c := &container{h: h, client: cl}
	img, err := cl.GetImage(t.Context(), h.image(t, image))
	if err != nil {
		t.Fatal(err)
	}
	id := h.NewID("task")
	opts = append([]oci.SpecOpts{oci.WithImageConfigArgs(img, args)}, opts...)
	c.Container, err = cl.NewContainer(t.Context(), id,
		client.WithImage(img),
		client.WithNewSnapshot(id, img),
		client.WithNewSpec(opts...),
		client.WithRuntime(wasm, nil))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// inGroup puts a container into the shim of a group.
func inGroup(id string) oci.SpecOpts {
	return oci.WithAnnotations(map[string]string{"io.containerd.runc.v2.group": id})
}

// exits collects the exit codes that the daemon publishes.
type exits struct {
	mu    sync.Mutex
	codes map[string][]uint32 // by container, of its init
}

// watchExits collects until the test ends or the daemon goes away.
func (h *host) watchExits(t *testing.T) *exits {
	t.Helper()
	x := &exits{codes: map[string][]uint32{}}
	stream, errs := h.connect(t).Subscribe(t.Context(), `topic=="/tasks/exit"`)
	go func() {
		for {
			select {
			case <-errs:
				return
			case e := <-stream:
				v, err := typeurl.UnmarshalAny(e.Event)
				if exit, ok := v.(*apievents.TaskExit); ok && err == nil && (exit.ID == exit.ContainerID || exit.ID == "") {
					x.mu.Lock()
					x.codes[exit.ContainerID] = append(x.codes[exit.ContainerID], exit.ExitStatus)
					x.mu.Unlock()
				}
			}
		}
	}()
	return x
}

func (x *exits) of(id string) []uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.codes[id])
}

// took returns how long a call takes.
func took(call func()) time.Duration {
	began := time.Now()
	call()
	return time.Since(began)
}

// assertUsable fails the test unless the daemon runs containers.
func (h *host) assertUsable(t *testing.T) {
	t.Helper()
	want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
}

// load finds the container's task after a fault as a client does that knows its
// id alone; nil when there is none.
func (h *host) load(t *testing.T, cl *client.Client, id string) client.Task {
	t.Helper()
	found, err := cl.LoadContainer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	task, err := found.Task(t.Context(), cio.Load)
	if err != nil {
		return nil
	}
	return task
}

// assertNothingLeft is the census of one case of a test.
func (h *host) assertNothingLeft(t *testing.T, before []string) {
	t.Helper()
	if left := h.leftSince(t, before); len(left) > 0 {
		t.Errorf("left:\n%s", strings.Join(left, "\n"))
		h.removeAll(t)
	}
}

// removeHiddenBundles removes what a daemon leaves that is killed while it deletes
// a bundle: it has renamed it to a hidden name, at which no daemon looks again. The
// bundle of a later container of the same id is then not deleted either, because it
// would get that name.
func (h *host) removeHiddenBundles(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"state", "root"} {
		hidden, err := filepath.Glob(filepath.Join(h.Dir, dir, "io.containerd.runtime.v2.task", h.Namespace, ".*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, bundle := range hidden {
			if err := os.RemoveAll(bundle); err != nil {
				t.Error(err)
			}
			later := filepath.Join(filepath.Dir(bundle), strings.TrimPrefix(filepath.Base(bundle), "."))
			if _, err := os.Stat(filepath.Join(later, "deleted")); err != nil {
				continue // it is none, or not deleted by its shim
			}
			if err := os.RemoveAll(later); err != nil {
				t.Error(err)
			}
		}
	}
}

// removeLeases removes what a client leaves that is killed at its work or finds no
// daemon to end it with. It ends by itself, in a day.
func (h *host) removeLeases(t *testing.T) {
	t.Helper()
	cl := h.connect(t)
	leases, err := cl.LeasesService().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if err := cl.LeasesService().Delete(t.Context(), l); err != nil {
			t.Error(err)
		}
	}
}

func moment(f float64) string { return fmt.Sprintf("at %.0f%%", 100*f) }
