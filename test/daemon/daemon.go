package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
)

// Programs are directories of executables.
type Programs struct {
	Containerd string // containerd, ctr, containerd-shim-runc-v2
	Runc       string
	Shim       string // containerd-shim-wasm-v1, wasm-runner and wasm-fetch, may be empty
	Network    string // CNI's plugins, for StartCRI
}

// Daemon is one private containerd. Its methods may be called from several
// goroutines, but Restart, Kill and Stop only from one at a time.
type Daemon struct {
	// Version is how users name it: 1.6, 1.7, 2.2 or 2.4.
	Version string
	// Dir holds all that the daemon writes.
	Dir string
	// Namespace is the containerd namespace of all that Ctr does.
	Namespace string

	programs Programs
	env      []string
	// sandboxImage is that of Pods; empty without the service for kubelet.
	sandboxImage string
	owner        *os.File  // locked as long as the owner of the daemon lives
	releaseRun   func()    // see HoldRunDirs
	cmd          *exec.Cmd // nil while the daemon is down
	exited       chan error

	mu  sync.Mutex
	ids []string // see NewID
}

// startTimeout is ample for a loaded machine: 0.3 s is usual.
const startTimeout = 60 * time.Second

// settleTime is how long ended containers may take to disappear from a loaded
// machine.
const settleTime = 30 * time.Second

// dirPrefix begins the names of the daemons' directories in os.TempDir. It is
// short because a socket's path has at most 107 bytes.
const dirPrefix = "cdwasm-"

// Start runs a containerd of that version and waits until it answers. env is
// added to its environment, which its shims inherit.
func Start(ctx context.Context, version string, p Programs, env ...string) (*Daemon, error) {
	return start(ctx, version, p, "", env)
}

// StartCRI is Start with the service for kubelet, on the same socket. Pods get
// the sandbox image of that name, which is to be imported into CRINamespace, and
// the Wasm runtime by the handler "wasm" and, where the version has the sandbox
// API, without pause containers by "wasm-sandbox"; "wasm-by-path", from 1.7 on, has
// the shim's path and a name that is not in PATH. Pods have a network of their own
// if the programs for it are given.
func StartCRI(ctx context.Context, version string, p Programs, sandboxImage string) (*Daemon, error) {
	return start(ctx, version, p, sandboxImage, nil)
}

// CRINamespace is the containerd namespace of Pods.
const CRINamespace = "k8s.io"

func start(ctx context.Context, version string, p Programs, sandboxImage string, env []string) (*Daemon, error) {
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return nil, err
	}
	d := &Daemon{Version: version, Dir: dir, Namespace: filepath.Base(dir), programs: p, sandboxImage: sandboxImage}
	if d.releaseRun, err = HoldRunDirs(); err == nil {
		err = d.prepare(env)
	}
	if err != nil {
		if d.releaseRun != nil {
			d.releaseRun()
		}
		os.RemoveAll(dir)
		return nil, err
	}
	if err := d.start(ctx); err != nil {
		log := d.Log()
		_, _ = d.Stop(ctx)
		return nil, fmt.Errorf("start containerd %s: %w\n%s", version, err, log)
	}
	return d, nil
}

func (d *Daemon) prepare(env []string) error {
	owner, err := lockOwner(d.Dir, os.O_CREATE)
	if err != nil {
		return err
	}
	d.owner = owner
	for _, sub := range []string{"bin", "fifo", "work"} {
		if err := os.Mkdir(d.path(sub), 0o711); err != nil {
			return err
		}
	}
	// Executables of its own tell this daemon's processes from those of others
	// that run the same build.
	if d.programs.Shim != "" {
		if err := copyExecutables(d.path("bin"), d.programs.Shim); err != nil {
			return err
		}
	}
	path := []string{d.path("bin"), d.programs.Containerd, os.Getenv("PATH")}
	if d.programs.Runc != "" {
		path = append([]string{d.programs.Runc}, path...)
	}
	d.env = append(os.Environ(), env...)
	d.env = append(d.env, d.Scope().Mark,
		"CONTAINERD_SHIM_WASM_CACHE="+d.CodeCache(),
		"PATH="+strings.Join(path, ":"))
	if d.programs.Network != "" {
		if err := d.writeNetwork(); err != nil {
			return err
		}
	}
	return d.writeConfig()
}

// copyExecutables links the files of a directory into another, or copies them
// to another file system.
func copyExecutables(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if !e.Type().IsRegular() || os.Link(src, dst) == nil {
			continue
		}
		b, err := os.ReadFile(src)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dst, b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Scope says what on this machine belongs to the daemon.
func (d *Daemon) Scope() census.Scope {
	s := census.Scope{
		Mark:      "CDWASM_DAEMON=" + d.Namespace,
		Namespace: d.Namespace,
		Dir:       d.Dir,
		Programs:  d.path("bin"),
		Watch: []string{
			d.path("fifo"),
			d.path("state", "io.containerd.runtime.v2.task"),
			d.path("state", "io.containerd.sandbox.controller.v1.shim"),
			d.path("root", "io.containerd.sandbox.controller.v1.shim"),
			d.path("root", "io.containerd.runtime.v2.task"),
			d.path("root", "io.containerd.snapshotter.v1.overlayfs", "snapshots"),
		},
	}
	s.Watch = append(s.Watch, d.sockets()...)
	if d.cmd != nil {
		s.Ignore = []int{d.cmd.Process.Pid}
	}
	return s
}

// Address is the path of the daemon's gRPC socket.
func (d *Daemon) Address() string { return d.path("c.sock") }

// Shim is the absolute path of the daemon's own copy of the Wasm shim.
func (d *Daemon) Shim() string { return d.path("bin", "containerd-shim-wasm-v1") }

// Hosts is where the daemon's service for kubelet, and ctr if it is told so, read
// how to reach registries.
func (d *Daemon) Hosts() string { return d.path("hosts") }

// CodeCache is the daemon's own directory of compiled code.
func (d *Daemon) CodeCache() string { return d.path("code") }

// Pid is the daemon's process, or 0 while it is down.
func (d *Daemon) Pid() int {
	if d.cmd == nil {
		return 0
	}
	return d.cmd.Process.Pid
}

// Log returns what the daemon and its shims have logged so far.
func (d *Daemon) Log() string {
	b, _ := os.ReadFile(d.path("log"))
	return string(b)
}

// Complaints leaves the lines of a daemon's log that say something went wrong or
// that a shim printed.
func Complaints(log string) string {
	var kept strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "level=debug") && !strings.Contains(line, "level=info") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// start runs the daemon on its directories, whatever is in them.
func (d *Daemon) start(ctx context.Context) error {
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(d.programs.Containerd, "containerd"), "--config", d.path("config.toml"))
	cmd.Env, cmd.Dir = d.env, d.Dir
	cmd.Stdout, cmd.Stderr = log, log
	// An interrupt from the terminal is for the owner, which then stops it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	d.cmd, d.exited = cmd, exited

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		// The socket listens before the services are ready; ctr asks one.
		if conn, err := net.Dial("unix", d.Address()); err == nil {
			conn.Close()
			if r := d.Ctr(ctx, "version"); r.Code == 0 {
				return nil
			}
		}
		select {
		case err := <-exited:
			d.cmd = nil
			return fmt.Errorf("it ended by itself: %v", err)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer on %s: %w", d.Address(), ctx.Err())
		case <-time.After(20 * time.Millisecond): // containerd signals readiness to systemd only
		}
	}
}

// Kill ends the daemon with the signal and waits for its end. Its containers
// and shims go on.
func (d *Daemon) Kill(sig syscall.Signal) error {
	if d.cmd == nil {
		return nil
	}
	if err := d.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.exited:
	case <-time.After(startTimeout):
		_ = d.cmd.Process.Kill()
		<-d.exited
		return fmt.Errorf("containerd did not end by %v: killed", sig)
	}
	d.cmd = nil
	return nil
}

// Restart ends the daemon with the signal and starts it again on the same
// directories.
func (d *Daemon) Restart(ctx context.Context, sig syscall.Signal) error {
	if err := d.Kill(sig); err != nil {
		return err
	}
	return d.start(ctx)
}

// Stop ends the daemon and removes everything of it from the machine. It
// returns what was there that should have been gone by itself: leaks of the
// containers, in a census's words.
func (d *Daemon) Stop(ctx context.Context) (left []string, _ error) {
	killErr := d.Kill(syscall.SIGTERM)
	left, err := d.leaks(ctx)
	d.releaseRun()
	err = errors.Join(killErr, err, remove(ctx, d.Scope()))
	d.owner.Close()
	return left, err
}

// leaks returns what the containers have left and still leave when settleTime
// is over: the kernel and pid 1 need a moment to let ended processes go.
func (d *Daemon) leaks(ctx context.Context) ([]string, error) {
	deadline := time.Now().Add(settleTime)
	for {
		found, err := census.Take(d.Scope())
		if err != nil {
			return nil, err
		}
		left := slices.DeleteFunc(found, d.Stays)
		if len(left) == 0 || ctx.Err() != nil || time.Now().After(deadline) {
			return left, nil
		}
		time.Sleep(20 * time.Millisecond) // no event tells
	}
}

// Stays says of a line of a census that it is no container's: an image that is
// unpacked, or the directory of a namespace.
func (d *Daemon) Stays(line string) bool {
	return strings.HasPrefix(line, "file "+d.path("root", "io.containerd.snapshotter.v1.overlayfs")) ||
		strings.HasSuffix(line, ".task/"+CRINamespace) || strings.HasSuffix(line, ".shim/"+CRINamespace)
}

// remove sweeps the scope until nothing is left of it, its directory included.
func remove(ctx context.Context, s census.Scope) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := s.Sweep()
		if err == nil {
			err = s.RemoveCgroups()
		}
		if err == nil {
			if left, _ := s.Processes(); len(left) > 0 {
				err = fmt.Errorf("processes do not end: %v", left)
			}
		}
		if err == nil {
			err = errors.Join(removeBridge(s.Dir), os.RemoveAll(s.Dir))
		}
		if err == nil || time.Now().After(deadline) {
			removeEmptyRunDirs()
			return err
		}
		// Killed processes leave their cgroups a little later; no event tells.
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lockOwner opens the file that says whether the owner of a daemon's directory
// lives, and locks it.
func lockOwner(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "owner"), os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// SweepAbandoned removes the daemons whose owner ended without stopping them.
// It returns their directories.
func SweepAbandoned(ctx context.Context) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return nil, err
	}
	var swept []string
	for _, dir := range dirs {
		owner, err := lockOwner(dir, 0)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return swept, err
		}
		abandoned := &Daemon{Dir: dir, Namespace: filepath.Base(dir)}
		swept = append(swept, dir)
		err = remove(ctx, abandoned.Scope())
		owner.Close()
		if err != nil {
			return swept, err
		}
	}
	return swept, nil
}
