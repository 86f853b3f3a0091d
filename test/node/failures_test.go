package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/deploy/node"
)

const plainConfig = "/etc/containerd/config.toml"

// plainMachine has the simplest layout, started.
func plainMachine(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t, "plain", "2.4", "testdata/plain/before")
	m.must(m.start(t.Context()))
	return m
}

// Each of these ends with one sentence that names the thing, and with the node as it
// was.
func TestWhatCannotBeInstalledLeavesTheNodeAsItWas(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*machine, *node.Config)
		says  []string
	}{
		{"no programs", func(_ *machine, c *node.Config) { c.Programs = "/nonexistent" }, []string{"/nonexistent/containerd-shim-wasm-v1", "--programs"}},
		{"unknown layout", func(_ *machine, c *node.Config) { c.Layout = "k9s" }, []string{"k9s", "microk8s"}},
		{"no containerd", func(m *machine, _ *node.Config) { m.must(os.Remove(m.path(m.layout.Containerd[0]))) }, []string{"containerd is not at", "--containerd"}},
		{"no TOML", func(m *machine, _ *node.Config) { m.write(plainConfig, "version = \n") }, []string{plainConfig, "not valid TOML"}},
		{"no configuration", func(m *machine, _ *node.Config) {
			m.write(plainConfig, "version = 2\n[plugins]\nx = 1\n[grpc]\naddress = 3\n")
		}, []string{"containerd does not accept its configuration"}},
		{"unknown version", func(m *machine, _ *node.Config) { m.write(plainConfig, "version = 9\n") }, []string{"version"}},
		{"no CRI", func(m *machine, _ *node.Config) {
			m.write(plainConfig, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")
		}, []string{plainConfig, "turns off containerd's service for kubelet", "disabled_plugins"}},
		{"another's runtime", func(m *machine, _ *node.Config) {
			m.write(plainConfig, m.read(plainConfig)+"[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasm]\nruntime_type = \"io.containerd.wasmtime.v1\"\n")
		}, []string{"already has a runtime", "io.containerd.wasmtime.v1", "--handler"}},
		{"half a block", func(m *machine, _ *node.Config) {
			m.write(plainConfig, "# BEGIN containerd-shim-wasm: written by wasm-node-installer, which removes it again. Changes are lost.\n")
		}, []string{plainConfig, "has a line \"# BEGIN containerd-shim-wasm", "without its line", "# END containerd-shim-wasm", "by hand"}},
		{"another's owner", func(m *machine, _ *node.Config) { m.must(os.Chown(m.path(plainConfig), 1000, 0)) }, []string{plainConfig, "belongs to uid 1000 with mode 0644", "chown root"}},
		{"writable for all", func(m *machine, _ *node.Config) { m.must(os.Chmod(m.path(plainConfig), 0o666)) }, []string{plainConfig, "0666"}},
		{"prefix of another", func(m *machine, c *node.Config) {
			c.Prefix = "/home/wasm"
			m.must(os.MkdirAll(m.path("/home"), 0o777))
			m.must(os.Chmod(m.path("/home"), 0o777))
		}, []string{"/home", "0777"}},
		{"read-only prefix", func(m *machine, _ *node.Config) {
			m.must(unix.Mount("tmpfs", m.path("/opt/nri"), "tmpfs", 0, "mode=0755"))
			m.must(unix.Mount("", m.path("/opt/nri"), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}, []string{"cannot change: read-only file system", "--prefix"}},
		{"prefix without execution", func(m *machine, _ *node.Config) {
			m.must(unix.Mount("tmpfs", m.path("/opt/nri"), "tmpfs", unix.MS_NOEXEC, "mode=0755"))
		}, []string{"the shim does not run on this node", "permission denied"}},
		{"read-only configuration", func(m *machine, _ *node.Config) {
			dir := m.path("/etc/containerd")
			m.must(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
			m.must(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}, []string{"read-only file system"}},
		{"programs that do not run", func(m *machine, c *node.Config) {
			c.Programs = m.t.TempDir()
			for _, name := range []string{"containerd-shim-wasm-v1", "wasm-runner", "wasm-fetch"} {
				m.must(os.WriteFile(filepath.Join(c.Programs, name), []byte("no program"), 0o755))
			}
		}, []string{"the shim does not run on this node", "exec format error"}},
		{"no way to restart", func(_ *machine, c *node.Config) { c.Restart = nil }, []string{"ask systemd to restart containerd.service", "--restart-command"}},
		{"program that makes more of a configuration", func(m *machine, c *node.Config) {
			c.Containerd = "/opt/wrapped"
			m.write(c.Containerd, "#!/bin/sh\n"+m.layout.Containerd[0]+" \"$@\" || exit\nif grep -q io.containerd.wasm \"$2\"; then echo '[another]'; echo 'key = 1'; fi\n")
			m.must(os.Chmod(m.path(c.Containerd), 0o755))
		}, []string{"no way to add the runtime keeps the rest of containerd's configuration", "would change another", "by hand"}},
		{"unknown option", func(_ *machine, c *node.Config) { c.Options = map[string]any{"MemoryLimits": "1Gi"} }, []string{"runtime options: unknown key", "MemoryLimits", "MemoryLimit"}},
		{"daemon that does not restart", func(m *machine, c *node.Config) {
			first := true
			c.Restart = func(ctx context.Context) error {
				if first {
					first = false
					return errors.New("unit failed")
				}
				return m.restart(ctx)
			}
		}, []string{"unit failed"}},
		{"daemon with another configuration", func(m *machine, c *node.Config) {
			c.ConfigFile, c.Patience = "/etc/containerd/other.toml", time.Second
			m.write(c.ConfigFile, m.read(plainConfig))
		}, []string{"containerd did not come up in 1s", "containerd has no handler \"wasm\"", "something else than /etc/containerd/other.toml decides its configuration"}},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			m := plainMachine(t)
			c := m.config()
			switch test.name {
			case "read-only prefix", "prefix without execution":
				m.must(os.MkdirAll(m.path("/opt/nri"), 0o755))
				c.Prefix = "/opt/nri/wasm"
			}
			test.spoil(m, &c)
			before := m.files()
			_, err := node.Install(t.Context(), c)
			if err == nil {
				t.Fatal("it is installed")
			}
			t.Log(err)
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if d := differ(before, m.files()); d != "" {
				t.Errorf("it leaves:\n%s", d)
			}
		})
	}
}

func TestNodesWhoseContainerdIsNotFound(t *testing.T) {
	for _, test := range []struct {
		dirs []string
		says []string
	}{
		{nil, []string{"no containerd is found below", "--config, --containerd and --socket"}},
		{[]string{"/var/lib/rancher/k3s/agent/etc/containerd", "/etc/k0s/containerd.d"}, []string{"this node has containerd of k3s and of k0s", "--layout"}},
	} {
		root := t.TempDir()
		for _, dir := range append(test.dirs, "/run") {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_, err := node.Install(t.Context(), node.Config{Root: root, Programs: root})
		for _, want := range test.says {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("with %v: %v, which does not say %q", test.dirs, err, want)
			}
		}
	}
}

func TestOneInstallerAtATime(t *testing.T) {
	m := plainMachine(t)
	lock, err := os.OpenFile(m.path("/run/wasm-node-installer.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	m.must(err)
	defer lock.Close()
	m.must(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	if _, err := node.Install(t.Context(), m.config()); err == nil || !strings.Contains(err.Error(), "another installer") {
		t.Errorf("beside another: %v", err)
	}
}

// What others have written into a file since stays when the runtime goes.
func TestUninstallKeepsWhatCameLater(t *testing.T) {
	for _, name := range []string{"plain", "plain-with-inline-tables", "plain-without-a-file-2"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "plain", "2.4", filepath.Join("testdata", name, "before"))
			m.must(m.start(t.Context()))
			if _, err := node.Install(t.Context(), m.config()); err != nil {
				t.Fatal(err)
			}
			m.write(plainConfig, m.read(plainConfig)+"\n[timeouts]\n  \"io.containerd.timeout.task.state\" = \"3s\"\n")
			if r, err := node.Install(t.Context(), m.config()); err != nil || r.Changed {
				t.Errorf("installing again: %+v, %v", r, err)
			}
			if _, err := node.Uninstall(t.Context(), m.config(), false); err != nil {
				t.Fatal(err)
			}
			text := m.read(plainConfig)
			if !strings.Contains(text, "timeout.task.state") || !strings.Contains(text, "version = ") || strings.Contains(text, "wasm") {
				t.Errorf("uninstalling leaves\n%s", text)
			}
			m.must(m.restart(t.Context()))
		})
	}
}

// An upgrade moves the link and nothing else: no restart. The old version stays as
// long as a shim that may be of it runs.
func TestUpgradeWhileAShimRuns(t *testing.T) {
	m := plainMachine(t)
	c := m.config()
	c.Programs = t.TempDir()
	m.must(os.CopyFS(c.Programs, os.DirFS(os.Getenv("E2E_BIN"))))
	old, err := node.Install(t.Context(), c)
	m.must(err)
	const prefix = "/opt/containerd-shim-wasm/"

	// A program of the shim's name, as containerd starts it.
	sleeper := m.runAsShim()
	m.must(appendTo(filepath.Join(c.Programs, "wasm-runner"), "of a later build"))
	upgraded, err := node.Install(t.Context(), c)
	if err != nil || !upgraded.Changed || upgraded.Restarted || upgraded.Version == old.Version || m.restarts != 1 {
		t.Fatalf("upgrade: %+v, %v, with %d restarts", upgraded, err, m.restarts)
	}
	if link, _ := os.Readlink(m.path(prefix + "current")); link != "versions/"+upgraded.Version {
		t.Errorf("current is %s", link)
	}
	if _, err := os.Stat(m.path(prefix + "versions/" + old.Version)); err != nil {
		t.Errorf("the version that a shim may run from: %v", err)
	}
	sleeper()
	// The next upgrade finds none that is older than the first.
	m.must(appendTo(filepath.Join(c.Programs, "wasm-runner"), "and of a still later one"))
	last, err := node.Install(t.Context(), c)
	m.must(err)
	entries, err := os.ReadDir(m.path(prefix + "versions"))
	m.must(err)
	for _, e := range entries {
		if e.Name() == old.Version {
			t.Errorf("version %s stays though nothing runs from it", old.Version)
		}
	}
	if _, err := node.Verify(t.Context(), c); err != nil {
		t.Errorf("after the upgrades to %s: %v", last.Version, err)
	}
	// A damaged program is found and replaced.
	m.must(appendTo(m.path(prefix+"current/wasm-runner"), "damage"))
	if _, err := node.Verify(t.Context(), c); err == nil {
		t.Error("a damaged program is taken for the installed one")
	}
	if _, err := node.Install(t.Context(), c); err != nil {
		t.Error(err)
	}
	if _, err := node.Verify(t.Context(), c); err != nil {
		t.Error(err)
	}
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
