package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/deploy/node"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// inNamespace tells the test binary that it has its own mount namespace.
const inNamespace = "NODE_TEST_NAMESPACE"

// TestMain runs the tests in a mount namespace, so that machines need no clearing
// up: all that they mount goes with it, whatever ends the tests.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" {
		os.Exit(child(m))
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Run(); err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			os.Exit(max(exit.ExitCode(), 1))
		}
		fmt.Fprintln(os.Stderr, "tests of the installer need root:", err)
		os.Exit(1)
	}
}

// child runs the tests, or the installer for TestKill.
func child(m *testing.M) int {
	if dir := os.Getenv(installIn); dir != "" {
		return installAndDie(dir)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		fmt.Fprintln(os.Stderr, "a /run for the tests alone:", err)
		return 1
	}
	return m.Run()
}

// machine is a directory that serves as the root of a node.
type machine struct {
	t       *testing.T
	root    string
	layout  node.Layout
	version string
	// render does what the distribution does before it starts containerd.
	render func(*machine)
	// restarts counts them.
	restarts int
	daemon   *exec.Cmd
	exited   chan struct{}
	log      bytes.Buffer
}

// newMachine makes a machine with the files of a directory, containerd of that
// version at the layout's place, and starts it.
func newMachine(t *testing.T, layout, version, files string) *machine {
	t.Helper()
	// A short path, because a socket's has at most 107 bytes. What is in it goes by
	// unmounting, never by removing: a part of it is this machine's own /usr.
	root, err := os.MkdirTemp("", "node-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, root: root, version: version}
	m.must(unix.Mount("tmpfs", root, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() {
		m.stop()
		if err := errors.Join(unix.Unmount(root, unix.MNT_DETACH), os.Remove(root)); err != nil {
			t.Error(err)
		}
	})
	m.layout, _ = node.LayoutOf(layout)
	switch layout {
	case "k3s", "rke2":
		m.render = renderTemplate
	case "k0s":
		m.render = mergeDropIns
	case "microk8s":
		m.render = fillPlaceholders
	}
	for _, dir := range []string{"proc", "sys", "dev", "usr", "run", "tmp", "etc", "var/lib", "opt"} {
		m.must(os.MkdirAll(m.path(dir), 0o755))
	}
	for _, dir := range []string{"proc", "sys", "dev", "usr"} {
		m.must(unix.Mount("/"+dir, m.path(dir), "", unix.MS_BIND|unix.MS_REC, ""))
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		if _, err := os.Stat("/usr/" + link); err == nil {
			m.must(os.Symlink("usr/"+link, m.path(link)))
		}
	}
	m.must(os.Symlink("../run", m.path("var/run")))
	if files != "" {
		m.must(os.CopyFS(m.root, os.DirFS(files)))
	}
	store, err := provision.Open(os.Stderr)
	m.must(err)
	dir, err := store.Containerd(t.Context(), version)
	m.must(err)
	place := m.layout.Containerd[0]
	if layout == "plain" {
		place = "/opt/containerd/bin/containerd" // /usr is this machine's own
	}
	b, err := os.ReadFile(filepath.Join(dir, "containerd"))
	m.must(err)
	m.write(place, string(b))
	m.must(os.Chmod(m.path(place), 0o755))
	m.layout.Containerd = []string{place}
	return m
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) path(p string) string { return filepath.Join(m.root, p) }

func (m *machine) write(path, text string) {
	m.t.Helper()
	m.must(os.MkdirAll(filepath.Dir(m.path(path)), 0o755))
	m.must(os.WriteFile(m.path(path), []byte(text), 0o644))
}

func (m *machine) read(path string) string {
	b, _ := os.ReadFile(m.path(path))
	return string(b)
}

// start starts containerd as the layout's distribution does.
func (m *machine) start(ctx context.Context) error {
	if m.render != nil {
		m.render(m)
	}
	args := []string{"--address", m.layout.Socket, "--root", "/var/lib/containerd", "--state", "/run/containerd-state"}
	if m.layout.Name != "plain" {
		args = append(args, "--config", m.layout.Config)
	}
	cmd := exec.Command(m.layout.Containerd[0], args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: m.root, Pdeathsig: syscall.SIGKILL}
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &m.log, &m.log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	m.daemon, m.exited = cmd, exited
	go func() { _ = cmd.Wait(); close(exited) }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := net.Dial("unix", m.path(m.layout.Socket))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-exited:
			return fmt.Errorf("containerd ended by itself:\n%s", m.log.String())
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer: %w", err)
		case <-time.After(20 * time.Millisecond): // containerd signals readiness to systemd only
		}
	}
}

// restart ends containerd and starts it again.
func (m *machine) restart(ctx context.Context) error {
	m.restarts++
	m.stop()
	return m.start(ctx)
}

func (m *machine) stop() {
	if m.daemon == nil {
		return
	}
	_ = m.daemon.Process.Kill()
	<-m.exited
	_ = os.Remove(m.path(m.layout.Socket))
	m.daemon = nil
}

// config is what installs on the machine.
func (m *machine) config() node.Config {
	return node.Config{Root: m.root, Programs: os.Getenv("E2E_BIN"), Restart: m.restart, Patience: time.Minute, Layout: m.layout.Name}
}

// files are the machine's own, by path: modes, links and texts, without what the
// daemon and the distribution write and without the programs' bytes.
func (m *machine) files() map[string]string {
	m.t.Helper()
	files := map[string]string{}
	written := []string{"proc", "sys", "dev", "usr", "run", "var/lib/containerd", "opt/containerd", "etc/nri", "etc/cni", "opt/nri"}
	m.must(filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(m.root, path)
		if slices.Contains(written, rel) {
			return fs.SkipDir
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		what := fi.Mode().String()
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			what += " -> " + target
		case fi.Mode().IsRegular() && fi.Size() < 1<<20:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += " " + string(b)
		}
		files[rel] = what
		return nil
	}))
	return files
}

// differ names the files in which two states of a machine differ.
func differ(before, after map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if after[name] != before[name] {
			fmt.Fprintf(&b, "%s was\n%s\nis\n%s\n", name, before[name], after[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			fmt.Fprintf(&b, "%s is new: %s\n", name, after[name])
		}
	}
	return b.String()
}

// runAsShim starts a process with the shim's name for its program, which ends when the
// returned function is called.
func (m *machine) runAsShim() (end func()) {
	m.t.Helper()
	cmd := exec.Command("/bin/cat")
	cmd.Args[0] = "/opt/containerd-shim-wasm/current/containerd-shim-wasm-v1"
	stdin, err := cmd.StdinPipe()
	m.must(err)
	m.must(cmd.Start())
	return func() {
		stdin.Close()
		m.must(cmd.Wait())
	}
}
