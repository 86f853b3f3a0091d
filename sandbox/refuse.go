package sandbox

import (
	"reflect"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// refuse rejects the fields that this package does not implement at all. A
// structure that is present and empty asks for nothing.
func refuse(spec *specs.Spec) error {
	if v := spec.Version; v != "" && !strings.HasPrefix(v, "1.") {
		return invalid("ociVersion: %q is not a version of the runtime specification that is known here; use 1.x", v)
	}
	for _, f := range []struct {
		set  bool
		path string
		hint string
	}{
		{present(spec.Solaris), "solaris", "it is not for Linux"},
		{present(spec.Windows), "windows", "it is not for Linux"},
		{present(spec.VM), "vm", "a Wasm container does not run in a virtual machine"},
		{present(spec.ZOS), "zos", "it is not for Linux"},
		{present(spec.FreeBSD), "freebsd", "it is not for Linux"},
	} {
		if f.set {
			return invalid("%s is set, but %s; remove it", f.path, f.hint)
		}
	}
	if err := refuseHooks(spec.Hooks); err != nil {
		return err
	}
	if err := refuseProcess(spec.Process); err != nil {
		return err
	}
	if spec.Linux != nil {
		return refuseLinux(spec.Linux)
	}
	return nil
}

func refuseProcess(p *specs.Process) error {
	switch {
	case p.CommandLine != "":
		return invalid("process.commandLine is set, but it is not for Linux; use process.args")
	case p.User.Username != "":
		return invalid("process.user.username is set, but it is not for Linux; use process.user.uid")
	case present(p.Scheduler):
		return invalid("process.scheduler is set, but scheduling policies are not applied to Wasm containers; remove it")
	case present(p.IOPriority):
		return invalid("process.ioPriority is set, but I/O priorities are not applied to Wasm containers; remove it or use linux.resources.blockIO")
	case present(p.ExecCPUAffinity):
		return invalid("process.execCPUAffinity is set, but CPU affinity is not applied to Wasm containers; remove it or use linux.resources.cpu.cpus")
	}
	return nil
}

func refuseHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	for _, f := range []struct {
		path  string
		hooks []specs.Hook
	}{
		//lint:ignore SA1019 a spec may still carry the deprecated field
		{"hooks.prestart", h.Prestart},
		{"hooks.createRuntime", h.CreateRuntime},
		{"hooks.createContainer", h.CreateContainer},
		{"hooks.startContainer", h.StartContainer},
		{"hooks.poststart", h.Poststart},
		{"hooks.poststop", h.Poststop},
	} {
		if len(f.hooks) > 0 {
			return invalid("%s is set (%s), but hooks are not run for Wasm containers; remove it or whatever injects it, such as a CDI device", f.path, f.hooks[0].Path)
		}
	}
	return nil
}

func refuseLinux(l *specs.Linux) error {
	switch {
	case len(l.UIDMappings) > 0:
		return invalid("linux.uidMappings is set, but Wasm containers do not run in user namespaces yet; remove it (in a Pod: hostUsers: true)")
	case len(l.GIDMappings) > 0:
		return invalid("linux.gidMappings is set, but Wasm containers do not run in user namespaces yet; remove it (in a Pod: hostUsers: true)")
	case filters(l.Seccomp):
		return invalid("linux.seccomp is set, but seccomp profiles are not applied to Wasm containers yet; remove it or use the profile Unconfined")
	case present(l.IntelRdt):
		return invalid("linux.intelRdt is set, but Intel RDT is not applied to Wasm containers; remove it")
	case present(l.MemoryPolicy):
		return invalid("linux.memoryPolicy is set, but NUMA policies are not applied to Wasm containers; remove it or use linux.resources.cpu.mems")
	case present(l.Personality):
		return invalid("linux.personality is set, but a Wasm guest has no Linux personality; remove it")
	case len(l.TimeOffsets) > 0:
		return invalid("linux.timeOffsets is set, but Wasm containers do not run in time namespaces; remove it")
	case len(l.NetDevices) > 0:
		return invalid("linux.netDevices is set, but network devices are not moved into Wasm containers; remove it or use CNI")
	}
	return nil
}

// filters says whether a profile forbids or changes anything.
func filters(s *specs.LinuxSeccomp) bool {
	return s != nil && (s.DefaultAction != specs.ActAllow || len(s.Syscalls) > 0)
}

// present says whether a pointer leads to a structure that says anything.
func present[T any](p *T) bool {
	return p != nil && !reflect.ValueOf(*p).IsZero()
}
