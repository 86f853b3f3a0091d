package sandbox

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/internal/seccomp"
)

// Config is what the init needs to build one container's sandbox. FromSpec
// makes it, nothing in it is left to be looked up or validated by the init, and
// it crosses the process boundary as JSON.
type Config struct {
	// Argv is what the program is executed with.
	Argv []string `json:"argv"`
	// Env is the program's environment. FromSpec leaves it empty: the guest's
	// environment is none of the program's. A caller may set variables that
	// the program itself understands.
	Env []string `json:"env,omitempty"`

	// CloneFlags are the CLONE_NEW* bits of the namespaces that the init is
	// born in. A new cgroup namespace is not among them: it has to be made
	// after the init was put into its cgroup.
	CloneFlags uintptr `json:"cloneFlags"`
	// NewCgroup asks for a cgroup namespace rooted at the container's cgroup.
	NewCgroup bool `json:"newCgroup,omitempty"`
	// Join are the existing namespaces that the init enters.
	Join []Namespace `json:"join,omitempty"`
	// PidPath is the pid namespace that Start enters, since setns(2) moves
	// only the children of its caller into a pid namespace.
	PidPath string `json:"pidPath,omitempty"`
	// User and Time are the user and the time namespace, nil for the host's.
	// With either the init moves, see Moves.
	User *UserNamespace `json:"user,omitempty"`
	Time *TimeNamespace `json:"time,omitempty"`
	// Timeline asks for marks of the start, which the program gets in its
	// environment, see package timeline.
	Timeline bool `json:"timeline,omitempty"`
	// Moved says that this init is the second process: it is in the namespaces
	// of Join, PidPath, User and Time, and has the descriptors of the root file
	// system and of the mounts.
	Moved bool `json:"moved,omitempty"`
	// RootFD is the detached mount of the root file system, ProcFD the host's
	// /proc for a further process; both are 0 unless the init moved.
	RootFD int `json:"rootFD,omitempty"`
	ProcFD int `json:"procFD,omitempty"`
	// Hostname and Domainname are set when not empty.
	Hostname   string `json:"hostname,omitempty"`
	Domainname string `json:"domainname,omitempty"`
	// Sysctls are written in order.
	Sysctls []Sysctl `json:"sysctls,omitempty"`

	// Tasks is how many descriptors from control.TasksFD on are of files "tasks" of
	// cgroup v1, by which the init joins the container's cgroup; see JoinBy.
	Tasks int `json:"tasks,omitempty"`

	// Foreign says that the program is not the runner, so that a second init is
	// behind control.InitFD.
	Foreign bool `json:"foreign,omitempty"`

	// Enter asks for the namespaces and the root of an existing container, whose
	// init is behind control.ContainerFD, in place of new ones.
	Enter bool `json:"enter,omitempty"`

	// Rootfs is the absolute host path of the mounted root file system.
	Rootfs string `json:"rootfs"`
	// ReadonlyRoot makes the root mount, and only that mount, read-only.
	ReadonlyRoot bool `json:"readonlyRoot,omitempty"`
	// RootPropagation holds MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE,
	// with or without MS_REC; 0 is the default, a recursive slave.
	RootPropagation uintptr `json:"rootPropagation,omitempty"`
	// Mounts are made in order.
	Mounts []Mount `json:"mounts,omitempty"`
	// Devices are made once all mounts are; nil when the spec binds a /dev of
	// its own, which is then left alone.
	Devices []Device `json:"devices,omitempty"`
	// MaskedPaths and ReadonlyPaths are paths in the container; one that does
	// not exist is passed over, as the runtime specification wants it.
	MaskedPaths   []string `json:"maskedPaths,omitempty"`
	ReadonlyPaths []string `json:"readonlyPaths,omitempty"`
	// MountLabel is the SELinux context of the file systems that are made.
	MountLabel string `json:"mountLabel,omitempty"`
	// Hooks is nil when the init has nothing to do for any.
	Hooks *Hooks `json:"hooks,omitempty"`
	// Cwd is an absolute path in the container; it is made when missing, as
	// runc makes it.
	Cwd string `json:"cwd"`

	// Terminal says that descriptor 0 is to be the controlling terminal.
	Terminal bool `json:"terminal,omitempty"`
	// UID, GID and Groups are what the program runs as.
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	// Umask holds permission bits.
	Umask uint32 `json:"umask"`
	// Capabilities are the sets to end with.
	Capabilities Capabilities `json:"capabilities"`
	// NoNewPrivileges is prctl(PR_SET_NO_NEW_PRIVS).
	NoNewPrivileges bool `json:"noNewPrivileges,omitempty"`
	// Seccomp is the compiled profile, loaded as the last thing before the
	// program is executed.
	Seccomp *seccomp.Filter `json:"seccomp,omitempty"`
	// Landlock is all that the program may use of the file system, where the
	// kernel has Landlock; nil is no restriction. Nothing can be executed then,
	// and processes outside can be sent no signal.
	Landlock []Reach `json:"landlock,omitempty"`
	// Scheduling is nil when the spec says nothing about it.
	Scheduling *Scheduling `json:"scheduling,omitempty"`
	// Rlimits are set as they are.
	Rlimits []Rlimit `json:"rlimits,omitempty"`
	// OOMScoreAdj is written when not nil.
	OOMScoreAdj *int `json:"oomScoreAdj,omitempty"`
	// AppArmorProfile and SELinuxLabel are entered by the final execve.
	AppArmorProfile string `json:"apparmorProfile,omitempty"`
	SELinuxLabel    string `json:"selinuxLabel,omitempty"`

	// Warnings are the parts of the spec about which the runtime specification
	// wants a warning instead of a failure, one sentence each. The caller logs
	// them.
	Warnings []string `json:"-"`

	// tasks are the files that Tasks counts.
	tasks []*os.File
	// container is the pidfd with which Start enters the pid namespace of an
	// existing container.
	container *os.File
}

// Namespace is an existing namespace to enter.
type Namespace struct {
	// Flag is its CLONE_NEW* bit.
	Flag int `json:"flag"`
	// Path is a file of nsfs on the host.
	Path string `json:"path"`
}

// FromSpec validates the spec and turns it into a Config. rootfs is the
// absolute host path of the mounted root file system, argv is what the program
// is executed with.
//
// Whatever the spec asks and this package does not do is refused with a
// *control.Error of class InvalidArgument that names the field by its path in
// config.json. Fields that belong to others (process.args and process.env,
// linux.resources, linux.cgroupsPath, annotations) are not looked at. It reads
// the host: namespaces behind paths and the security modules must be there.
func FromSpec(spec *specs.Spec, rootfs string, argv []string, options ...Option) (*Config, error) {
	if spec == nil || spec.Process == nil {
		return nil, invalid("process is not set, so there is nothing to run; set process.args and process.cwd")
	}
	if !filepath.IsAbs(rootfs) {
		return nil, invalid("root.path: %q is not absolute; give the root file system by its absolute path", rootfs)
	}
	if filepath.Clean(rootfs) == "/" {
		return nil, invalid("root.path is /, the host's own root; give the container a root file system of its own")
	}
	if len(argv) == 0 {
		return nil, invalid("process.args is empty; name the module to run")
	}
	if err := refuse(spec); err != nil {
		return nil, err
	}
	c := &Config{Rootfs: filepath.Clean(rootfs), Argv: argv}
	for _, o := range options {
		o(c)
	}
	if spec.Root != nil {
		c.ReadonlyRoot = spec.Root.Readonly
	}
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	for _, step := range []func(*specs.Spec, *specs.Linux) error{
		c.hooks, c.namespaces, c.owners, c.sysctls, c.mounts, c.devices, c.process, c.labels, c.seccomp,
	} {
		if err := step(spec, linux); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// process takes over what is true of the process rather than of its
// surroundings.
func (c *Config) process(spec *specs.Spec, linux *specs.Linux) error {
	p := spec.Process
	if !filepath.IsAbs(p.Cwd) {
		return invalid("process.cwd: %q is not absolute; set it to a path such as /", p.Cwd)
	}
	c.Cwd = p.Cwd
	c.UID, c.GID, c.Groups = p.User.UID, p.User.GID, p.User.AdditionalGids
	if err := c.checkMapped(); err != nil {
		return err
	}
	c.Umask = 0o022
	if p.User.Umask != nil {
		c.Umask = *p.User.Umask
	}
	if c.Umask > 0o777 {
		return invalid("process.user.umask: %#o has more than permission bits; use at most 0777", c.Umask)
	}
	c.Terminal = p.Terminal
	c.NoNewPrivileges = p.NoNewPrivileges
	if adj := p.OOMScoreAdj; adj != nil {
		if *adj < -1000 || *adj > 1000 {
			return invalid("process.oomScoreAdj: %d is out of range; use -1000 to 1000", *adj)
		}
		c.OOMScoreAdj = adj
	}
	if err := c.scheduling(p, linux); err != nil {
		return err
	}
	c.capabilities(p.Capabilities)
	return c.rlimits(p.Rlimits)
}

// joins says whether the container has a namespace of that kind which is not
// the shim's own.
func (c *Config) joins(flag int) bool {
	for _, ns := range c.Join {
		if ns.Flag == flag {
			return true
		}
	}
	return c.CloneFlags&uintptr(flag) != 0
}

func (c *Config) warn(sentence string) { c.Warnings = append(c.Warnings, sentence) }

func invalid(format string, args ...any) error {
	return control.Errorf(control.InvalidArgument, format, args...)
}

// hasNUL finds what the kernel would cut a string off at.
func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
