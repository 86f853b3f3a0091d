package task

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// createWith is create with runtime options in TOML.
func (s *shim) createWith(id, toml string) error {
	s.d.t.Helper()
	options, err := typeurl.MarshalAnyToProto(&runtimeoptions.Options{ConfigBody: []byte(toml)})
	if err != nil {
		s.d.t.Fatal(err)
	}
	_, err = s.Create(context.Background(), &taskapi.CreateTaskRequest{ID: id, Bundle: filepath.Join(s.d.dir, id), Options: options})
	return errgrpc.ToNative(err)
}

// left lists what is in a bundle beside what the daemon put there.
func (d *daemon) left(id string) (names []string) {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.dir, id))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "code-") || strings.HasPrefix(e.Name(), "compile-") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestAModuleThatAsksTooMuchOfTheCompilerIsRefused(t *testing.T) {
	d := newDaemon(t)
	d.bundle("time", wasmtest.Hostile["br_table"](2_000_000), nil)
	d.bundle("memory", wasmtest.Hostile["locals"](20_000), nil)
	d.bundle("after", wasmtest.Exit(7), nil)
	s := d.start("time")
	for id, c := range map[string]struct{ toml, says string }{
		"time":   {`CompileTime = "1s"`, "CompileTime"},
		"memory": {`CompileMemory = "128Mi"`, "takes more than 128Mi of memory to compile; make the module smaller, or raise the runtime option CompileMemory"},
	} {
		err := s.createWith(id, c.toml)
		if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", id, err)
		}
		if left := d.left(id); len(left) > 0 {
			t.Errorf("%s: left in the bundle: %v", id, left)
		}
	}
	if left := inCache(t, filepath.Join(d.dir, "cache")); len(left) > 0 {
		t.Errorf("left in the cache: %v", left)
	}
	s.mustCreate("after")
	s.mustStart("after")
	if status := s.wait("after"); status != 7 {
		t.Errorf("exit status %d afterwards", status)
	}
}

func TestTheCompileProcessIsConfined(t *testing.T) {
	d := newDaemon(t)
	d.bundle("app", wasmtest.Hostile["br_table"](2_000_000), nil)
	s := d.start("app")
	created := make(chan error, 1)
	go func() { created <- s.createWith("app", `CompileMemory = "1Gi"`) }()
	pid := d.compileProcess(s.pid, created)

	status := readFile(t, fmt.Sprintf("/proc/%d/status", pid))
	for _, want := range []string{
		"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "Groups:\t \n",
		"CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapBnd:\t0000000000000000\n",
		"NoNewPrivs:\t1\n", "Seccomp:\t2\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("its status lacks %q:\n%s", want, status)
		}
	}
	limits := strings.Join(strings.Fields(readFile(t, fmt.Sprintf("/proc/%d/limits", pid))), " ")
	for _, want := range []string{
		"Max data size 1073741824 1073741824 ", "Max file size 2147483648 2147483648 ", "Max open files 64 64 ",
		"Max core file size 0 0 ", "Max cpu time 120 130 ",
	} {
		if !strings.Contains(limits, want) {
			t.Errorf("its limits lack %q: %s", want, limits)
		}
	}
	for _, ns := range []string{"net", "mnt", "pid", "ipc", "uts"} {
		own, err := os.Readlink("/proc/self/ns/" + ns)
		theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil || err2 != nil || own == theirs {
			t.Errorf("namespace %s: %s, here %s; %v, %v", ns, theirs, own, err, err2)
		}
	}
	root, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil || len(root) != 1 || root[0].Name() != "code" {
		t.Errorf("its root holds %v, %v", root, err)
	}
	if cgroups := readFile(t, fmt.Sprintf("/proc/%d/cgroup", pid)); !strings.Contains(cgroups, d.cgroup()+"/app") {
		t.Errorf("it is in %s", cgroups)
	}
	// Its end is an error of Create.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-created; !errdefs.IsInternal(err) || !strings.Contains(err.Error(), "/app.wasm") {
		t.Errorf("Create returns %v", err)
	}
	if left := d.left("app"); len(left) > 0 {
		t.Errorf("left in the bundle: %v", left)
	}
}

// compileProcess waits for a child of the shim that compiles.
func (d *daemon) compileProcess(shim int, created <-chan error) int {
	d.t.Helper()
	deadline := time.After(patience)
	for {
		children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", shim))
		for _, c := range children {
			b, _ := os.ReadFile(c)
			for _, pid := range strings.Fields(string(b)) {
				args, _ := os.ReadFile("/proc/" + pid + "/cmdline")
				if strings.HasPrefix(string(args), "wasm-runner\x00compile") {
					var n int
					_, _ = fmt.Sscan(pid, &n)
					return n
				}
			}
		}
		select {
		case err := <-created:
			d.t.Fatalf("Create returns %v, and no process compiled", err)
		case <-deadline:
			d.t.Fatal("no process compiles")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestWithoutACacheTheModuleIsCompiledInTheSameSandbox(t *testing.T) {
	d := newDaemon(t)
	d.bundle("app", wasmtest.Exit(7), nil)
	d.bundle("memory", wasmtest.Hostile["locals"](20_000), nil)
	s := d.start("app")
	const noCache = "CacheDir = \"/proc/cache\"\n"
	if err := s.createWith("app", noCache); err != nil {
		t.Fatal(err)
	}
	if left := d.left("app"); len(left) > 0 {
		t.Errorf("left in the bundle: %v", left)
	}
	s.mustStart("app")
	if status := s.wait("app"); status != 7 {
		t.Errorf("exit status %d", status)
	}
	if err := s.createWith("memory", noCache+`CompileMemory = "128Mi"`); !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "CompileMemory") {
		t.Errorf("memory: %v", err)
	}
}

func TestAnEntryThatTheCacheCannotHoldServesOnce(t *testing.T) {
	d := newDaemon(t)
	s := (*shim)(nil)
	for i := range 3 {
		id := fmt.Sprint("app", i)
		d.bundle(id, wasmtest.Exit(int32(i)), nil)
		if s == nil {
			s = d.start(id)
		}
		if err := s.createWith(id, `CacheSize = "16"`); err != nil {
			t.Fatal(err)
		}
		s.mustStart(id)
		if status := s.wait(id); status != uint32(i) {
			t.Errorf("%s: exit status %d", id, status)
		}
	}
	if held := inCache(t, filepath.Join(d.dir, "cache")); len(held) > 0 {
		t.Errorf("the cache holds %v", held)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What was compiled within the limits is loaded within far lower ones, also from a
// Landlock domain of one directory.
func TestCompiledCodeIsLoadedAndNotCompiledAgain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	module := wasmtest.Hostile["br_table"](64_000)
	var s *shim
	for i, toml := range []string{"", `CompileMemory = "100Mi"`, "CompileMemory = \"100Mi\"\nPreopens = \"/data\"", "CompileMemory = \"100Mi\"\nLandlock = false"} {
		id := fmt.Sprint("app", i)
		bundle := d.bundle(id, module, nil)
		if err := os.Mkdir(filepath.Join(bundle, "rootfs", "data"), 0o755); err != nil {
			t.Fatal(err)
		}
		if s == nil {
			s = d.start(id)
		}
		if err := s.createWith(id, toml); err != nil {
			t.Fatalf("%q: %v", toml, err)
		}
		s.mustStart(id)
		if status := s.wait(id); status != 0 {
			t.Errorf("%q: exit status %d", toml, status)
		}
	}
	fresh := d.bundle("fresh", wasmtest.Hostile["br_table"](64_001), nil)
	if err := s.createWith(filepath.Base(fresh), `CompileMemory = "100Mi"`); !errdefs.IsResourceExhausted(err) {
		t.Errorf("a module like it compiles within the lower limit, so that this shows nothing: %v", err)
	}
}
