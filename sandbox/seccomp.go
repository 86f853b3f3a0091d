package sandbox

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/sandbox/internal/seccomp"
)

// seccomp takes over linux.seccomp.
func (c *Config) seccomp(_ *specs.Spec, linux *specs.Linux) error {
	return c.ApplySeccomp(linux.Seccomp)
}

// ApplySeccomp puts the process under the profile, if there is one. FromSpec does
// so for a container's init; a further process has to be given the profile of
// its container, since seccomp filters are inherited and not entered.
//
// Errors are FromSpec's, for linux.seccomp.
func (c *Config) ApplySeccomp(s *specs.LinuxSeccomp) error {
	if s == nil || s.DefaultAction == "" && len(s.Syscalls) == 0 {
		return nil // what runc takes for no profile
	}
	p, err := seccomp.Parse(s, runtime.GOARCH)
	if err != nil {
		return invalid("linux.seccomp.%w", err)
	}
	if missing := c.forbidden(p); len(missing) > 0 {
		return invalid("linux.seccomp does not allow %s, which the process of every Wasm container needs; allow it in the profile, or use RuntimeDefault", strings.Join(missing, ", "))
	}
	if c.Seccomp, err = p.Compile(); err != nil {
		return invalid("linux.seccomp.%w", err)
	}
	return nil
}

// forbidden names what the profile keeps from the init and the runner, without
// which they would end before they could say why.
func (c *Config) forbidden(p *seccomp.Profile) (names []string) {
	need := func(name string, args ...uint64) {
		if !p.Allows(name, args...) {
			names = append(names, name)
		}
	}
	if !c.NoNewPrivileges {
		// The filter is then loaded before the capabilities are dropped.
		need("capset")
		need("prctl", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	}
	// A profile that was made for runc may know only execve. That call takes a
	// path, and the container has none that leads to the runner.
	need("execveat", 5, 0, 0, 0, unix.AT_EMPTY_PATH)
	// The Go runtime, whose scheduler and signals are there up to the execve.
	const threads = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	need("clone", threads)
	need("mmap", 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	need("rt_sigaction", uint64(unix.SIGURG))
	need("prctl", unix.PR_SET_NO_NEW_PRIVS, 1)
	for _, name := range []string{
		"exit_group", "fcntl", "futex", "gettid", "munmap",
		"read", "rt_sigprocmask", "rt_sigreturn", "seccomp", "sigaltstack", "tgkill", "write",
	} {
		need(name)
	}
	if runtime.GOARCH == "amd64" {
		need("arch_prctl", 0x1002) // ARCH_SET_FS
	}
	return names
}

// loadSeccomp confines the calling thread, which is about to become the
// program.
func (c *Config) loadSeccomp() error {
	if err := c.Seccomp.Load(); err != nil {
		return fmt.Errorf("linux.seccomp: load the filter: %w", err)
	}
	return nil
}

// SeccompFeatures is what FromSpec understands in linux.seccomp, for the
// features that the shim advertises.
func SeccompFeatures() *features.Seccomp {
	archs := seccomp.Archs(runtime.GOARCH)
	enabled := len(archs) > 0
	return &features.Seccomp{
		Enabled:        &enabled,
		Actions:        seccomp.Actions(),
		Operators:      seccomp.Operators(),
		Archs:          archs,
		KnownFlags:     seccomp.Flags(),
		SupportedFlags: seccomp.Flags(),
	}
}
