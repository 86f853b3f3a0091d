package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// IDMaps says which ids of a user namespace are which outside of it, and for an
// id-mapped mount which ids of the file system appear as which.
type IDMaps struct {
	UIDs []specs.LinuxIDMapping `json:"uids"`
	GIDs []specs.LinuxIDMapping `json:"gids"`
}

// newIDMaps checks two lists, of which field is the path up to "uidMappings".
// The result is nil if both are empty.
func newIDMaps(field string, uids, gids []specs.LinuxIDMapping) (*IDMaps, error) {
	if len(uids) == 0 && len(gids) == 0 {
		return nil, nil
	}
	uidField, gidField := field+".uidMappings", field+".gidMappings"
	switch {
	case len(gids) == 0:
		return nil, invalid("%s is set, but %s is not; set both or neither", uidField, gidField)
	case len(uids) == 0:
		return nil, invalid("%s is set, but %s is not; set both or neither", gidField, uidField)
	}
	if err := checkIDMap(uidField, uids); err != nil {
		return nil, err
	}
	if err := checkIDMap(gidField, gids); err != nil {
		return nil, err
	}
	return &IDMaps{UIDs: uids, GIDs: gids}, nil
}

// checkIDMap finds what the kernel would answer with a bare EINVAL.
func checkIDMap(field string, list []specs.LinuxIDMapping) error {
	// UID_GID_MAP_MAX_EXTENTS of user_namespaces(7), and what is written at once
	// must be less than a page.
	if len(list) > 340 || len(formatIDMap(list)) >= 4096 {
		return invalid("%s has %d ranges, which is more than the kernel takes; merge some", field, len(list))
	}
	for i, m := range list {
		const end = 1<<32 - 1 // the last id is none: (uid_t)-1
		switch {
		case m.Size == 0:
			return invalid("%s[%d].size is 0; use at least 1", field, i)
		case uint64(m.ContainerID)+uint64(m.Size) > end, uint64(m.HostID)+uint64(m.Size) > end:
			return invalid("%s[%d] reaches beyond the last id, %d; lower its size", field, i, uint32(end-1))
		}
		for j, other := range list[:i] {
			if overlap(m.ContainerID, other.ContainerID, m.Size, other.Size) || overlap(m.HostID, other.HostID, m.Size, other.Size) {
				return invalid("%s[%d] and [%d] overlap; map every id once", field, j, i)
			}
		}
	}
	return nil
}

func overlap(a, b, sizeA, sizeB uint32) bool {
	return uint64(a) < uint64(b)+uint64(sizeB) && uint64(b) < uint64(a)+uint64(sizeA)
}

// mapped says whether an id of the container is mapped.
func mapped(list []specs.LinuxIDMapping, id uint32) bool {
	return slices.ContainsFunc(list, func(m specs.LinuxIDMapping) bool {
		return id >= m.ContainerID && id-m.ContainerID < m.Size
	})
}

// formatIDMap gives what is written to /proc/<pid>/uid_map.
func formatIDMap(list []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// sameIDMap compares with the content of /proc/<pid>/uid_map, which the kernel
// may have sorted.
func sameIDMap(list []specs.LinuxIDMapping, content string) bool {
	normal := func(s string) []string {
		var lines []string
		for line := range strings.Lines(s) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		slices.Sort(lines)
		return lines
	}
	return slices.Equal(normal(formatIDMap(list)), normal(content))
}

// idMapping takes over what the entry says about id-mapping, c.User being known.
func (c *Config) idMapping(mount *Mount, m specs.Mount) error {
	field := fmt.Sprintf("mounts[%d]", mount.Index)
	ids, err := newIDMaps(field, m.UIDMappings, m.GIDMappings)
	if err != nil {
		return err
	}
	switch {
	case ids == nil && mount.IDMap == "":
		return nil
	case !mount.Bind:
		return invalid("%s of %s is to be id-mapped, but is no bind mount; add bind to its options or remove the mappings", field, m.Destination)
	case ids == nil && c.User == nil:
		return invalid("%s.options of %s has %q, but there are no mappings; set uidMappings and gidMappings", field, m.Destination, mount.IDMap)
	case mount.IDMap == "":
		mount.IDMap = "idmap" // mappings alone ask for it, too
	}
	mount.IDs = ids
	return nil
}

// mapMount gives a detached mount the mapping of a user namespace.
func mapMount(fd, namespace int, below bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if below {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace)})
	switch err {
	case nil:
		return nil
	case unix.ENOSYS:
		return control.Errorf(control.Unavailable, "the node's kernel has no id-mapped mounts; use Linux 5.12 or newer")
	case unix.EINVAL:
		return fmt.Errorf("its file system, or one below it, cannot be id-mapped by this kernel; use another file system or remove the mappings: %w", err)
	case unix.EPERM:
		return control.Errorf(control.InvalidArgument, "the mount, or one below it, is id-mapped already or belongs to another user namespace; remove the mappings")
	}
	return fmt.Errorf("id-map it: %w", err)
}
