package sandbox

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/osthread"
)

// ctrSpec is what `ctr run` of containerd 2 asks for.
func ctrSpec() *specs.Spec {
	caps := func() []string {
		return []string{
			"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
			"CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
			"CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
		}
	}
	return &specs.Spec{
		Version:  "1.3.0",
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "sandbox-test",
		Process: &specs.Process{
			Cwd:             "/",
			Args:            []string{"/app.wasm"},
			Env:             []string{"PATH=/bin", "SECRET=guest"},
			NoNewPrivileges: true,
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps(), Permitted: caps(), Effective: caps()},
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/default/test",
			Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
				"/sys/devices/virtual/powercap", "/proc/scsi",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// with returns the spec after a change, so that tests read as one expression.
func with(change func(*specs.Spec)) *specs.Spec {
	s := ctrSpec()
	change(s)
	return s
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces and mounts need root")
	}
	exe, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	for _, p := range exe.Progs {
		if p.Type == elf.PT_INTERP {
			t.Skip("the test binary is linked dynamically, as with -race, and cannot run in an empty root")
		}
	}
}

// sandbox is one attempt to run the probe.
type sandboxTest struct {
	rootfs string
	wish   wish
	// stdin is what the program gets; nil is /dev/null.
	stdin *os.File
	// holes leaves out the descriptors of the workload, the module and the
	// cache.
	holes bool
	// options are FromSpec's.
	options []Option
	// atHooks is called when the init waits for the hooks of the runtime; its
	// error ends the attempt.
	atHooks func(pid int) error
}

func newRootfs(t testing.TB) string {
	t.Helper()
	needRoot(t)
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	// t.TempDir is 0700 on the way, which does not matter behind pivot_root.
	return rootfs
}

// run builds a sandbox from the spec and returns what the probe saw in it, or
// the error that the init reported.
func (s *sandboxTest) run(t testing.TB, spec *specs.Spec) (*view, error) {
	t.Helper()
	needRoot(t)
	if s.rootfs == "" {
		s.rootfs = newRootfs(t)
	}
	w, err := json.Marshal(s.wish)
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromSpec(spec, s.rootfs, []string{"wasm-runner", "probe", string(w)}, s.options...)
	if err != nil {
		return nil, err
	}
	return s.runConfig(t, c)
}

func (s *sandboxTest) runConfig(t testing.TB, c *Config) (*view, error) {
	t.Helper()
	before := hostMounts(t)
	out, err := s.spawn(t, c)
	after := hostMounts(t)
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			t.Errorf("now mounted on the host: %s", line)
		}
	}
	for line := range strings.Lines(before) {
		// Others may remove a directory on which our namespace has a mount.
		_, err := os.Stat(parseMountinfo(line).At)
		if !strings.Contains(after, line) && err == nil {
			t.Errorf("no longer mounted on the host: %s", line)
		}
	}
	if err != nil {
		return nil, err
	}
	v := new(view)
	if err := json.Unmarshal(out, v); err != nil {
		t.Fatalf("probe said %q: %v", out, err)
	}
	return v, nil
}

// spawn does what the shim does.
func (s *sandboxTest) spawn(t testing.TB, c *Config) ([]byte, error) {
	t.Helper()
	configR, configW := pipe(t)
	outR, outW := pipe(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	program, err := OpenProgram("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	extra := []*os.File{configR, theirs, program}
	closers := []*os.File{configR, outW, theirs, program}
	if !s.holes {
		workload, module, cache := open(t, "/dev/zero"), open(t, "/dev/full"), open(t, "/")
		// The last two stand for what leaks into the init by mistake.
		leak, leakDir := open(t, "/etc/passwd"), open(t, "/etc")
		extra = append(extra, workload, module, cache, nil, leak, leakDir)
		closers = append(closers, workload, module, cache, leak, leakDir)
	}
	cmd := c.Command("/proc/self/exe", [3]*os.File{s.stdin, outW, os.Stderr}, extra)
	err = startIn(c, cmd.Start)
	for _, f := range closers {
		f.Close()
	}
	defer ours.Close()
	defer outR.Close()
	if err != nil {
		configW.Close()
		return nil, err
	}
	if err := json.NewEncoder(configW).Encode(c); err != nil {
		t.Error(err)
	}
	configW.Close()
	wait, pid := cmd.Wait, cmd.Process.Pid
	if c.Moves() {
		if pid, wait, err = followInit(t, cmd, ours); err != nil {
			return nil, err
		}
	}
	if c.AwaitsHooks() {
		if err := s.hooks(ours, pid); err != nil {
			_ = unix.Kill(pid, unix.SIGKILL)
			_ = wait()
			return nil, err
		}
	}
	out, err := io.ReadAll(outR)
	if err != nil {
		t.Error(err)
	}
	report := control.Receive(ours)
	if err := wait(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signaled() {
			return nil, err
		}
		if report == io.ErrUnexpectedEOF {
			t.Fatalf("the init died without a report: %v, %s", err, out)
		}
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
			t.Errorf("the init ended with %v, not with 1", err)
		}
		return nil, report
	}
	if report != io.ErrUnexpectedEOF {
		t.Errorf("the program runs, but the init reported %v", report)
	}
	return out, nil
}

// followInit does what the shim does when an init goes on as another process: it
// returns that one's pid and what waits for its end.
func followInit(t testing.TB, cmd *exec.Cmd, socket *os.File) (int, func() error, error) {
	t.Helper()
	pid, report := control.ReceivePid(socket)
	if report == nil {
		if err := control.SendStart(socket); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Wait(); err != nil && report == nil {
		t.Errorf("the first init ended with %v", err)
	}
	// The child between the two, which is in the session of the first.
	for {
		if _, err := unix.Wait4(-cmd.Process.Pid, nil, 0, nil); err != nil && err != unix.EINTR {
			break
		}
	}
	if report != nil {
		return 0, nil, report
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid, (&exec.Cmd{Process: p}).Wait, nil
}

// hooks does what the shim does when an init awaits it.
func (s *sandboxTest) hooks(socket *os.File, pid int) error {
	if err := control.Receive(socket); err != nil {
		return err
	}
	if err := s.atHooks(pid); err != nil {
		return err
	}
	return control.SendStart(socket)
}

// mustRun is run for specs that work.
func mustRun(t testing.TB, spec *specs.Spec, w wish) *view {
	t.Helper()
	v, err := (&sandboxTest{wish: w}).run(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func hostMounts(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// hold starts a process with namespaces of its own, which lives as long as the
// test, and returns the paths of its namespaces.
func hold(t testing.TB, flags uintptr) func(kind string) string {
	t.Helper()
	needRoot(t)
	r, w := pipe(t)
	cmd := exec.Command("/proc/self/exe", "hold")
	cmd.Stdin = r
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: 100000, Size: 65536}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: 200000, Size: 65536}}
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() {
		w.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join("/proc", itoa(cmd.Process.Pid), "ns")
	return func(kind string) string { return filepath.Join(dir, kind) }
}

func itoa(n int) string { return strings.TrimPrefix(magic(n), "/proc/self/fd/") }

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func symlink(t testing.TB, target, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// startIn starts a process as the shim does.
func startIn(c *Config, start func() error) (err error) {
	osthread.Run(func() (clean bool) {
		clean, err = c.Start(start)
		return clean
	})
	return err
}
