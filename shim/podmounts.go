package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// furnish adds the Pod's files to the mounts of one of its containers, where the
// container does not bring its own: CRI adds only those in its own directories.
func (p *pod) furnish(spec *specs.Spec) error {
	mode := "rw"
	if spec.Root != nil && spec.Root.Readonly {
		mode = "ro"
	}
	for _, file := range []string{podHostname, podHosts, podResolvConf} {
		if mountOn(spec, "/etc/"+file) >= 0 {
			continue
		}
		insertMount(spec, bindMount(filepath.Join(p.bundle, file), "/etc/"+file, mode))
		if err := p.relabel(spec, file); err != nil {
			return err
		}
	}
	if p.config.ipc == namespaceNode {
		return nil
	}
	// Unless the user mounts something there, it is a tmpfs of this container.
	at := mountOn(spec, "/dev/shm")
	shm := bindMount(filepath.Join(p.bundle, podShm), "/dev/shm", "rw")
	switch {
	case at < 0:
		insertMount(spec, shm)
	case spec.Mounts[at].Type == "tmpfs":
		spec.Mounts[at] = shm
	default:
		return nil
	}
	return p.relabel(spec, podShm)
}

func bindMount(source, destination, mode string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", mode}}
}

// mountOn returns the index of the mount with that destination, or -1.
func mountOn(spec *specs.Spec, destination string) int {
	return slices.IndexFunc(spec.Mounts, func(m specs.Mount) bool { return path.Clean(m.Destination) == destination })
}

// insertMount puts the mount before those that lie below it.
func insertMount(spec *specs.Spec, m specs.Mount) {
	at := slices.IndexFunc(spec.Mounts, func(other specs.Mount) bool {
		return strings.HasPrefix(path.Clean(other.Destination), m.Destination+"/")
	})
	if at < 0 {
		at = len(spec.Mounts)
	}
	spec.Mounts = slices.Insert(spec.Mounts, at, m)
}

// relabel lets every container of the Pod use the file, where SELinux asks for a
// label: that of the container without its categories, which differ.
func (p *pod) relabel(spec *specs.Spec, name string) error {
	if spec.Linux == nil || spec.Linux.MountLabel == "" {
		return nil
	}
	label := sharedLabel(spec.Linux.MountLabel)
	if err := unix.Lsetxattr(filepath.Join(p.bundle, name), "security.selinux", []byte(label), 0); err != nil {
		return fmt.Errorf("label the Pod's file %s for its containers: %w", name, err)
	}
	return nil
}

// sharedLabel is user:role:type:s0 of a label.
func sharedLabel(label string) string {
	parts := strings.SplitN(label, ":", 4)
	if len(parts) < 4 {
		return label
	}
	return strings.Join(parts[:3], ":") + ":s0"
}

// rewriteMounts writes the mounts of the spec into the bundle's config.json, and
// changes nothing else there: runc may know fields that this program does not.
func rewriteMounts(bundle string, spec *specs.Spec) error {
	file := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the OCI spec: %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("parse the OCI spec: %w", err)
	}
	if all["mounts"], err = json.Marshal(spec.Mounts); err != nil {
		return fmt.Errorf("marshal mounts: %w", err)
	}
	if b, err = json.Marshal(all); err != nil {
		return fmt.Errorf("marshal the OCI spec: %w", err)
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write the OCI spec: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write the OCI spec: %w", err)
	}
	return nil
}
