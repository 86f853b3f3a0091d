package runner

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// TestMain lets the test binary be the processes that are tested.
func TestMain(m *testing.M) {
	switch os.Getenv("RUNNER_TEST_MODE") {
	case "guest":
		os.Exit(Guest())
	case "compile":
		os.Exit(Compile())
	case "separate":
		os.Exit(separateAndCollect())
	}
	os.Exit(m.Run())
}

// process is a runner with the shim's ends of its descriptors.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	shim           net.Conn
	stdout, stderr bytes.Buffer
}

// startProcess starts this binary in a mode with what it would inherit. Nil
// files are not inherited.
func startProcess(t *testing.T, mode string, stdin io.Reader, config, workload, module, cache *os.File) *process {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "shim"), os.NewFile(uintptr(fds[1]), "runner")
	shim, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe), shim: shim}
	p.cmd.Env = append(os.Environ(), "RUNNER_TEST_MODE="+mode)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, &p.stdout, &p.stderr
	p.cmd.ExtraFiles = []*os.File{config, theirs, nil, workload, module, cache}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(func() {
		_ = p.shim.Close()
		_ = p.cmd.Process.Kill()
		_, _ = p.cmd.Process.Wait()
	})
	return p
}

// startGuest starts a guest up to its report and returns that.
func startGuest(t *testing.T, binary []byte, w oci.Workload, stdin io.Reader, cacheDir string) (*process, error) {
	t.Helper()
	if w.Module == "" {
		w.Module = "app.wasm"
	}
	description, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	var cache *os.File
	if cacheDir != "" {
		if cache, err = os.Open(cacheDir); err != nil {
			t.Fatal(err)
		}
	}
	p := startProcess(t, "guest", stdin, nil, memfd(t, description), memfd(t, binary), cache)
	return p, control.Receive(p.shim)
}

// release sends the start byte and returns the guest's exit code.
func (p *process) release() int {
	p.t.Helper()
	if err := control.SendStart(p.shim); err != nil {
		p.t.Fatal(err)
	}
	return p.wait()
}

func (p *process) wait() int {
	p.t.Helper()
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// runGuest runs a guest that must become ready, and returns its exit code.
func runGuest(t *testing.T, binary []byte, w oci.Workload) (code int, stdout, stderr string) {
	t.Helper()
	p, err := startGuest(t, binary, w, nil, "")
	if err != nil {
		t.Fatalf("not ready: %v", err)
	}
	code = p.release()
	return code, p.stdout.String(), p.stderr.String()
}

// compileInDir runs the compile process.
func compileInDir(t *testing.T, binary []byte, dir string) error {
	t.Helper()
	return compileWithin(t, binary, dir, control.CompileLimits{})
}

func compileWithin(t *testing.T, binary []byte, dir string, limits control.CompileLimits) error {
	t.Helper()
	config, err := json.Marshal(control.CompileConfig{Dir: dir, Module: "app.wasm", Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "compile", nil, nil, memfd(t, config), memfd(t, binary), nil)
	report := control.Receive(p.shim)
	if code := p.wait(); (code == 0) != (report == nil) {
		t.Errorf("the compile process exits with %d after report %v", code, report)
	}
	return report
}

func memfd(t *testing.T, content []byte) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return f
}

// entries lists the files of compiled code below a directory.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
