package sandbox

import (
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// labels takes over what the Linux security modules enforce. A label that no
// module would enforce is refused: the container would run without the
// confinement that its author relies on.
func (c *Config) labels(spec *specs.Spec, linux *specs.Linux) error {
	// "unconfined" is what a process without a profile is.
	if p := spec.Process.ApparmorProfile; p != "" && p != "unconfined" {
		if !apparmorEnabled() {
			return invalid("process.apparmorProfile is %q, but AppArmor is not enabled on this node; enable it or remove the profile", p)
		}
		if hasNUL(p) {
			return invalid("process.apparmorProfile: %q holds a NUL byte; remove it", p)
		}
		c.AppArmorProfile = p
	} else if p == "unconfined" && apparmorEnabled() {
		c.AppArmorProfile = p
	}
	if l := spec.Process.SelinuxLabel; l != "" {
		if !selinuxEnabled() {
			return invalid("process.selinuxLabel is %q, but SELinux is not enabled on this node; enable it or remove the label", l)
		}
		c.SELinuxLabel = l
	}
	if l := linux.MountLabel; l != "" {
		if !selinuxEnabled() {
			return invalid("linux.mountLabel is %q, but SELinux is not enabled on this node; enable it or remove the label", l)
		}
		if strings.ContainsAny(l, "\"\x00") {
			return invalid("linux.mountLabel: %q is not an SELinux context; correct it", l)
		}
		c.MountLabel = l
	}
	return nil
}

func apparmorEnabled() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && len(b) > 0 && b[0] == 'Y'
}

// selinuxEnabled relies on selinuxfs, which is mounted wherever a policy is
// loaded.
func selinuxEnabled() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}
