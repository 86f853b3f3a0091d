package compile

import (
	"fmt"
	"math"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/launch"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

const (
	// compileDir is where the compile process finds the directory it writes to.
	compileDir = "/code"
	// compileUser is what nothing else on a node should be: nobody.
	compileUser = 65534
	// compileFiles is how many descriptors the compile process may have; a dozen
	// are in use.
	compileFiles = 64
	// compileGrace is by how much the hard limit of processor time exceeds the
	// soft one, in seconds: time to say so.
	compileGrace = 10
)

// sandbox is the sandbox of a compile process: no network, no privileges,
// nobody's user, and a file system that holds the one directory which it writes,
// dir on the host. root is an empty directory on the host.
func (c *Compiler) sandbox(root, dir string) (*sandbox.Config, error) {
	if err := os.Chmod(root, 0o755); err != nil {
		return nil, err
	}
	seconds := uint64(math.Ceil(c.Limits.Time.Seconds()))
	spec := &specs.Spec{
		Root: &specs.Root{Path: root, Readonly: true},
		Process: &specs.Process{
			Cwd:             "/",
			User:            specs.User{UID: compileUser, GID: compileUser},
			NoNewPrivileges: true,
			Capabilities:    &specs.LinuxCapabilities{},
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_CPU", Soft: seconds, Hard: seconds + compileGrace},
				{Type: "RLIMIT_FSIZE", Soft: codecache.MaxSize, Hard: codecache.MaxSize},
				{Type: "RLIMIT_NOFILE", Soft: compileFiles, Hard: compileFiles},
				{Type: "RLIMIT_CORE"},
			},
		},
		Mounts: []specs.Mount{{Destination: compileDir, Type: "bind", Source: dir, Options: []string{"bind", "rw", "nosuid", "nodev", "noexec"}}},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			},
			Seccomp: compileProfile(),
		},
	}
	config, err := sandbox.FromSpec(spec, root, []string{launch.RunnerName, "compile"})
	if err != nil {
		return nil, fmt.Errorf("sandbox of the compile process: %w", err)
	}
	config.Devices, config.MaskedPaths, config.ReadonlyPaths = nil, nil, nil
	// A container may not have it, because of what its engine reserves. What the
	// compiler reserves it also uses.
	config.Rlimits = append(config.Rlimits, sandbox.Rlimit{
		Name: "RLIMIT_DATA", Resource: unix.RLIMIT_DATA, Soft: uint64(c.Limits.Memory), Hard: uint64(c.Limits.Memory),
	})
	config.Env = []string{"GOMAXPROCS=2"}
	if c.Landlock {
		config.Landlock = []sandbox.Reach{{Path: compileDir, Write: true}}
	}
	return config, nil
}

// compileProfile is what a program of Go needs to read its input, compute and
// write files.
func compileProfile() *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Syscalls: []specs.LinuxSyscall{{Action: specs.ActAllow, Names: append(sandbox.RuntimeCalls(),
			// Files.
			"close", "close_range", "fstat", "fsync", "getdents64", "lseek", "pread64",
			"fchmod", "mkdirat", "newfstatat", "openat", "openat2", "readlinkat", "renameat", "renameat2", "statx", "unlinkat",
		)}},
	}
}
