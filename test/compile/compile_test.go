package compile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// slow is a module that takes some seconds to compile.
func slow() []byte { return wasmtest.Hostile["br_table"](100_000) }

// In processes of their own, as shims are.
func TestConcurrentFirstUsersCompileOnce(t *testing.T) {
	const root, path = "COMPILE_TEST_ROOT", "COMPILE_TEST_MODULE"
	if dir := os.Getenv(root); dir != "" {
		f, err := os.Open(os.Getenv(path))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c := compile.Compiler{Limits: compile.DefaultLimits(), Landlock: true}
		entry, compiled, err := c.Entry(t.Context(), openCache(t, dir), compile.Module{Name: "app.wasm", File: f})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("compiled: %v\n", compiled)
		entry.Close()
		return
	}
	b := newBench(t)
	module := moduleFile(t, wasmtest.Hostile["br_table"](20_000))
	outs := make([][]byte, 5)
	var users sync.WaitGroup
	for i := range outs {
		users.Go(func() {
			cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
			cmd.Env = append(os.Environ(), root+"="+b.root, path+"="+module.Name())
			var err error
			if outs[i], err = cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, outs[i])
			}
		})
	}
	users.Wait()
	n := 0
	for _, out := range outs {
		n += strings.Count(string(out), "compiled: true")
	}
	if n != 1 {
		t.Errorf("compiled %d times", n)
	}
	b.assertNothingLeft()
}

// A module in a volume may be changed by another container, at any moment. What is
// cached under a digest is the code of the bytes that have it.
func TestAModuleThatChangesIsNotCachedAsAnother(t *testing.T) {
	b := newBench(t)
	victim := wasmtest.Exit(1)
	file := moduleFile(t, victim)
	key, err := compile.KeyOf(compile.Module{Name: "app.wasm", File: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(wasmtest.Exit(2), 0); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Entry(t.Context(), b.cache, compile.Module{Name: "app.wasm", File: file, Digest: &key.Module})
	if e, ok := errors.AsType[*compile.ModuleError](err); !ok || e.Err.Class != control.InvalidArgument || !strings.Contains(err.Error(), "app.wasm was changed while it was read") {
		t.Errorf("%v", err)
	}
	if _, err := b.cache.Lookup(key); err != codecache.ErrMiss {
		t.Errorf("the cache has something for the key: %v", err)
	}
	b.assertNothingLeft()
}

// What is compiled is no file of the container's: it changes after it was copied.
func TestTheProcessGetsACopyOfTheModule(t *testing.T) {
	b := newBench(t)
	module := slow()
	file := moduleFile(t, module)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, _, err := b.Entry(ctx, b.cache, compile.Module{Name: "app.wasm", File: file})
		ended <- err
	}()
	pid := compileProcess(t, os.Getpid())
	if where, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, control.ModuleFD)); err != nil || strings.Contains(where, file.Name()) || !strings.Contains(where, "(deleted)") {
		t.Errorf("its module is %s, %v", where, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	b.assertNothingLeft()
}

// Whoever starts a compilation may be killed.
func TestTheProcessEndsWithWhoStartedIt(t *testing.T) {
	const root = "COMPILE_TEST_KILLED"
	if dir := os.Getenv(root); dir != "" {
		c := compile.Compiler{Limits: compile.DefaultLimits()}
		_, _, err := c.Entry(t.Context(), openCache(t, dir), compile.Module{Name: "app.wasm", File: moduleFile(t, slow())})
		t.Fatal(err)
	}
	b := newBench(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), root+"="+b.root, "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := compileProcess(t, cmd.Process.Pid)
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(time.Minute.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			t.Errorf("process %d goes on", pid)
			_ = unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0)
		}
		break
	}
	openCache(t, b.root) // sweeps
	b.assertNothingLeft()
}

// compileProcess waits for a child of that process which compiles.
func compileProcess(t *testing.T, parent int) int {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
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
		time.Sleep(time.Millisecond) // the kernel tells of no execve
	}
	t.Fatal("no process compiles")
	return 0
}
