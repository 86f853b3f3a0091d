package sandbox

import (
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Mount is one entry of the spec's mounts.
type Mount struct {
	// Index is its place in the spec, for messages.
	Index int `json:"index"`
	// Destination is a path in the container. It is not cleaned, since the
	// root file system may have symlinks in it.
	Destination string `json:"destination"`
	// Type is the file system; it means nothing for a bind.
	Type string `json:"type,omitempty"`
	// Source is an absolute host path for a bind, and whatever the file system
	// makes of it otherwise.
	Source string `json:"source,omitempty"`
	// Bind mounts Source, Recursive also what is mounted below it.
	Bind      bool `json:"bind,omitempty"`
	Recursive bool `json:"recursive,omitempty"`
	// IDMap is "idmap" to id-map the bind, "ridmap" to do so with everything
	// below it, too: by IDs, or if that is nil by the container's user
	// namespace.
	IDMap string  `json:"idMap,omitempty"`
	IDs   *IDMaps `json:"ids,omitempty"`
	// FD is the detached mount of a bind, 0 unless the init moved.
	FD int `json:"fd,omitempty"`
	// CopyUp fills a tmpfs with what the image has at its destination.
	CopyUp bool `json:"copyUp,omitempty"`
	// Flags are those of mount(2) for a new file system.
	Flags uintptr `json:"flags,omitempty"`
	// Data are the options of the file system itself.
	Data string `json:"data,omitempty"`
	// Attr changes what a bind inherits from the mount of its source;
	// AttrBelow does so for everything below it, too.
	Attr      Attr `json:"attr"`
	AttrBelow Attr `json:"attrBelow"`
	// Propagation are MS_SHARED and its like, applied in order.
	Propagation []uintptr `json:"propagation,omitempty"`
}

// Device is a device node or fifo to make.
type Device struct {
	// Path is absolute in the container; the same path on the host is what is
	// bound where the init may not make nodes.
	Path string `json:"path"`
	// Mode holds S_IFCHR, S_IFBLK or S_IFIFO and the permission bits.
	Mode uint32 `json:"mode"`
	// Dev is the device number as mknod(2) takes it.
	Dev uint64 `json:"dev"`
	UID int    `json:"uid,omitempty"`
	GID int    `json:"gid,omitempty"`
}

// mounts takes over mounts and the lists of linux that belong to them.
func (c *Config) mounts(spec *specs.Spec, linux *specs.Linux) error {
	for i, m := range spec.Mounts {
		mount, err := newMount(i, m)
		if err != nil {
			return err
		}
		if err := c.idMapping(mount, m); err != nil {
			return err
		}
		c.Mounts = append(c.Mounts, *mount)
	}
	if p := linux.RootfsPropagation; p != "" {
		flags, ok := propagation(p)
		if !ok {
			return invalid("linux.rootfsPropagation: %q is not known; use shared, slave, private or unbindable", p)
		}
		c.RootPropagation = flags
	}
	for _, list := range []struct {
		field string
		paths []string
	}{
		{"linux.maskedPaths", linux.MaskedPaths},
		{"linux.readonlyPaths", linux.ReadonlyPaths},
	} {
		for i, p := range list.paths {
			if !filepath.IsAbs(p) || hasNUL(p) {
				return invalid("%s[%d]: %q is not an absolute path; correct it", list.field, i, p)
			}
		}
	}
	c.MaskedPaths, c.ReadonlyPaths = linux.MaskedPaths, linux.ReadonlyPaths
	return nil
}

func newMount(i int, m specs.Mount) (*Mount, error) {
	if !filepath.IsAbs(m.Destination) {
		return nil, invalid("mounts[%d].destination: %q is not absolute; give an absolute path", i, m.Destination)
	}
	mount := &Mount{Index: i, Destination: m.Destination, Type: m.Type, Source: m.Source}
	data, err := mount.parseOptions(i, m.Options)
	if err != nil {
		return nil, err
	}
	if m.Type == "bind" && !mount.Bind {
		return nil, invalid("mounts[%d].options of %s has neither bind nor rbind, but its type is bind; add one", i, m.Destination)
	}
	mount.Data = strings.Join(data, ",")
	if hasNUL(mount.Destination + mount.Source + mount.Type + mount.Data) {
		return nil, invalid("mounts[%d] of %q holds a NUL byte; remove it", i, m.Destination)
	}
	switch {
	case !mount.Bind && m.Type == "":
		return nil, invalid("mounts[%d].type of %s is empty; set it, or add bind to its options", i, m.Destination)
	case !mount.Bind:
		return mount, nil
	case len(data) > 0:
		// The kernel ignores them.
		return nil, invalid("mounts[%d].options of %s has %q, which a bind mount cannot honour; remove it", i, m.Destination, data[0])
	case !filepath.IsAbs(m.Source):
		return nil, invalid("mounts[%d].source: %q is not absolute; give an absolute path", i, m.Source)
	}
	mount.Type = "bind"
	return mount, nil
}

// devices takes over linux.devices, which win over the default devices of the
// runtime specification.
func (c *Config) devices(spec *specs.Spec, linux *specs.Linux) error {
	var devices []Device
	for i, d := range linux.Devices {
		device, err := newDevice(i, d)
		if err != nil {
			return err
		}
		devices = append(devices, *device)
	}
	for _, m := range c.Mounts {
		// A /dev that is bound belongs to somebody else; making nodes in it
		// would make them there.
		if m.Bind && filepath.Clean(m.Destination) == "/dev" {
			if len(devices) > 0 {
				c.warn("linux.devices are left out, because mounts binds a /dev that has its own")
			}
			return nil
		}
	}
	for _, d := range defaultDevices() {
		if !hasDevice(devices, d.Path) {
			c.Devices = append(c.Devices, d)
		}
	}
	for _, d := range devices {
		// /dev/ptmx always leads to the container's own devpts.
		if d.Path != "/dev/ptmx" {
			c.Devices = append(c.Devices, d)
		}
	}
	return nil
}

func newDevice(i int, d specs.LinuxDevice) (*Device, error) {
	if !filepath.IsAbs(d.Path) || hasNUL(d.Path) || filepath.Clean(d.Path) == "/" {
		return nil, invalid("linux.devices[%d].path: %q is not an absolute path of a file; correct it", i, d.Path)
	}
	device := &Device{Path: filepath.Clean(d.Path), Mode: 0o666}
	if d.FileMode != nil {
		device.Mode = uint32(*d.FileMode) & 0o777
	}
	switch d.Type {
	case "c", "u":
		device.Mode |= unix.S_IFCHR
	case "b":
		device.Mode |= unix.S_IFBLK
	case "p":
		device.Mode |= unix.S_IFIFO
	default:
		return nil, invalid("linux.devices[%d].type of %s: %q is not known; use c, u, b or p", i, d.Path, d.Type)
	}
	if d.Type != "p" {
		if d.Major < 0 || d.Major > 1<<32-1 || d.Minor < 0 || d.Minor > 1<<32-1 {
			return nil, invalid("linux.devices[%d] of %s: %d:%d is not a device number; correct major and minor", i, d.Path, d.Major, d.Minor)
		}
		device.Dev = unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	}
	if d.UID != nil {
		device.UID = int(*d.UID)
	}
	if d.GID != nil {
		device.GID = int(*d.GID)
	}
	return device, nil
}

func hasDevice(devices []Device, path string) bool {
	for _, d := range devices {
		if d.Path == path {
			return true
		}
	}
	return false
}

// defaultDevices are those of runtime-spec's config-linux.md, "Default
// Devices", as far as they are nodes. /dev/console comes with a terminal.
func defaultDevices() []Device {
	node := func(path string, major, minor uint32) Device {
		return Device{Path: path, Mode: unix.S_IFCHR | 0o666, Dev: unix.Mkdev(major, minor)}
	}
	return []Device{
		node("/dev/null", 1, 3),
		node("/dev/zero", 1, 5),
		node("/dev/full", 1, 7),
		node("/dev/random", 1, 8),
		node("/dev/urandom", 1, 9),
		node("/dev/tty", 5, 0),
	}
}
