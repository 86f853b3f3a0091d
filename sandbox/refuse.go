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
	}
	return nil
}

func refuseLinux(l *specs.Linux) error {
	switch {
	case present(l.IntelRdt):
		return invalid("linux.intelRdt is set, but Intel RDT is not applied to Wasm containers; remove it")
	case present(l.Personality) && l.Personality.Domain != specs.PerLinux:
		return invalid("linux.personality.domain is %q, but a runner is a program of 64 bits, and nothing of it shows in a Wasm guest; remove it or use LINUX", l.Personality.Domain)
	case present(l.Personality) && len(l.Personality.Flags) > 0:
		return invalid("linux.personality.flags has %q, but the runtime specification defines no flag; remove it", l.Personality.Flags[0])
	case len(l.NetDevices) > 0:
		return invalid("linux.netDevices is set, but network devices are not moved into Wasm containers; remove it or use CNI")
	}
	return nil
}

// present says whether a pointer leads to a structure that says anything.
func present[T any](p *T) bool {
	return p != nil && !reflect.ValueOf(*p).IsZero()
}
