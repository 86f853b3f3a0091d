package sandbox

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// UserNamespace is the one that the container is in, and that owns its new
// namespaces.
type UserNamespace struct {
	// Path is a file of nsfs on the host; it is empty for a new one.
	Path string `json:"path,omitempty"`
	// IDs are its mappings; nil for an existing one of which the spec says
	// nothing more.
	IDs *IDMaps `json:"ids,omitempty"`
}

// TimeNamespace is the one that the container is in.
type TimeNamespace struct {
	// Path is a file of nsfs on the host; it is empty for a new one.
	Path string `json:"path,omitempty"`
	// Offsets is what is written to /proc/<pid>/timens_offsets of a new one.
	Offsets string `json:"offsets,omitempty"`
}

// Moves says whether the init that is started goes on as another process: only
// a process of one thread can enter a user or a time namespace, and no Go
// process is one. The pid of the other comes as the first report, by
// control.ReceivePid; it is a child of the caller as well, and so is one between
// them that ends at once. The first ends with 0 after the start byte; then the
// conversation goes on with the other.
//
// So it is with id-mapped mounts, for another reason: the maps of a user
// namespace are written through the host's /proc, which knows the children of an
// init in a pid namespace of its own by other pids.
func (c *Config) Moves() bool {
	return c.User != nil || c.Time != nil || slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.IDMap != "" })
}

// owners takes over the namespaces of type user and time, whose flags are in
// linux.namespaces, with their mappings and offsets.
func (c *Config) owners(_ *specs.Spec, linux *specs.Linux) error {
	ids, err := newIDMaps("linux", linux.UIDMappings, linux.GIDMappings)
	if err != nil {
		return err
	}
	switch {
	case c.User == nil && ids != nil:
		return invalid("linux.uidMappings and linux.gidMappings are set, but linux.namespaces has no user namespace; add one or remove them")
	case c.User == nil:
	case c.User.Path == "" && ids == nil:
		return invalid("linux.namespaces has a new user namespace, but linux.uidMappings and linux.gidMappings are not set; set both")
	case ids != nil && (!mapped(ids.UIDs, 0) || !mapped(ids.GIDs, 0)):
		return invalid("linux.uidMappings and linux.gidMappings do not map the container's root, who makes its mounts; map the id 0 in both")
	default:
		c.User.IDs = ids
		if c.User.Path != "" {
			if err := notOurs(c.User.Path, "user"); err != nil {
				return err
			}
		}
	}
	return c.timeOffsets(linux.TimeOffsets)
}

// notOurs refuses to enter the namespace that we are in, which the kernel does,
// too, without a reason.
func notOurs(path, kind string) error {
	theirs, err := os.Stat(path)
	if err != nil {
		return control.Errorf(control.NotFound, "linux.namespaces: %s namespace: %w; is its container still running?", kind, err)
	}
	ours, err := os.Stat("/proc/thread-self/ns/" + kind)
	if err != nil {
		return err
	}
	if os.SameFile(theirs, ours) {
		return invalid("linux.namespaces: the path %q of %q leads to the host's own; remove the entry to share it", path, kind)
	}
	return nil
}

func (c *Config) timeOffsets(offsets map[string]specs.LinuxTimeOffset) error {
	if len(offsets) == 0 {
		return nil
	}
	if c.Time == nil || c.Time.Path != "" {
		return invalid("linux.timeOffsets is set, but linux.namespaces has no new time namespace; add one or remove the offsets")
	}
	var b strings.Builder
	for _, clock := range slices.Sorted(maps.Keys(offsets)) {
		o := offsets[clock]
		if clock != "monotonic" && clock != "boottime" {
			return invalid("linux.timeOffsets: %q is not a clock that has an offset; use monotonic or boottime", clock)
		}
		if o.Nanosecs > 999_999_999 {
			return invalid("linux.timeOffsets.%s.nanosecs: %d is more than a second; use at most 999999999", clock, o.Nanosecs)
		}
		fmt.Fprintf(&b, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
	}
	c.Time.Offsets = b.String()
	return nil
}

// checkMapped finds ids that the program cannot have.
func (c *Config) checkMapped() error {
	if c.User == nil || c.User.IDs == nil {
		return nil
	}
	const text = "process.user.%s: %d is not an id that linux.%sMappings maps; map it or use another"
	if !mapped(c.User.IDs.UIDs, c.UID) {
		return invalid(text, "uid", c.UID, "uid")
	}
	if !mapped(c.User.IDs.GIDs, c.GID) {
		return invalid(text, "gid", c.GID, "gid")
	}
	for _, g := range c.Groups {
		if !mapped(c.User.IDs.GIDs, g) {
			return invalid(text, "additionalGids", g, "gid")
		}
	}
	return nil
}
