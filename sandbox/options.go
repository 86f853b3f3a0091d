package sandbox

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// option is what one word of mounts[].options means. The same word is a flag
// of mount(2) for a new file system and an attribute of mount_setattr(2) for a
// bind mount.
type option struct {
	name string
	// off removes the flag instead of setting it.
	off bool
	// ms is the flag of mount(2).
	ms uintptr
	// attr is the attribute of mount_setattr(2); for access times, which are
	// an enumeration there, it is the value.
	attr uint64
	// kind says where the word means anything.
	kind optionKind
}

type optionKind uint8

const (
	// perMount words work on new file systems and binds, and have a form with
	// an r in front that covers everything below a bind.
	perMount optionKind = iota
	// accessTime words are perMount words of an enumeration.
	accessTime
	// perFilesystem words cannot be honoured for a bind, because they belong
	// to a file system that others have mounted as well.
	perFilesystem
	// anywhere words change nothing about a bind.
	anywhere
)

// options is the table of runtime-spec's config.md, "Linux mount options".
func options() []option {
	return []option{
		{"ro", false, unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY, perMount},
		{"rw", true, unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY, perMount},
		{"nosuid", false, unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID, perMount},
		{"suid", true, unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID, perMount},
		{"nodev", false, unix.MS_NODEV, unix.MOUNT_ATTR_NODEV, perMount},
		{"dev", true, unix.MS_NODEV, unix.MOUNT_ATTR_NODEV, perMount},
		{"noexec", false, unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC, perMount},
		{"exec", true, unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC, perMount},
		{"nodiratime", false, unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME, perMount},
		{"diratime", true, unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME, perMount},
		{"nosymfollow", false, unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW, perMount},
		{"symfollow", true, unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW, perMount},

		{"noatime", false, unix.MS_NOATIME, unix.MOUNT_ATTR_NOATIME, accessTime},
		{"strictatime", false, unix.MS_STRICTATIME, unix.MOUNT_ATTR_STRICTATIME, accessTime},
		{"relatime", false, unix.MS_RELATIME, unix.MOUNT_ATTR_RELATIME, accessTime},
		// What is not asked for otherwise is relatime, since Linux 2.6.30.
		{"atime", true, unix.MS_NOATIME, unix.MOUNT_ATTR_RELATIME, accessTime},
		{"nostrictatime", true, unix.MS_STRICTATIME, unix.MOUNT_ATTR_RELATIME, accessTime},
		{"norelatime", true, unix.MS_RELATIME, unix.MOUNT_ATTR_RELATIME, accessTime},

		{"sync", false, unix.MS_SYNCHRONOUS, 0, perFilesystem},
		{"dirsync", false, unix.MS_DIRSYNC, 0, perFilesystem},
		{"iversion", false, unix.MS_I_VERSION, 0, perFilesystem},
		{"lazytime", false, unix.MS_LAZYTIME, 0, perFilesystem},
		{"mand", false, unix.MS_MANDLOCK, 0, perFilesystem},
		{"async", true, unix.MS_SYNCHRONOUS, 0, anywhere},
		{"noiversion", true, unix.MS_I_VERSION, 0, anywhere},
		{"nolazytime", true, unix.MS_LAZYTIME, 0, anywhere},
		{"nomand", true, unix.MS_MANDLOCK, 0, anywhere},
		{"silent", false, unix.MS_SILENT, 0, anywhere},
		{"loud", true, unix.MS_SILENT, 0, anywhere},
		{"defaults", false, 0, 0, anywhere},
	}
}

func propagation(word string) (uintptr, bool) {
	var rec uintptr
	if rest, ok := strings.CutPrefix(word, "r"); ok {
		word, rec = rest, unix.MS_REC
	}
	switch word {
	case "private":
		return unix.MS_PRIVATE | rec, true
	case "slave":
		return unix.MS_SLAVE | rec, true
	case "shared":
		return unix.MS_SHARED | rec, true
	case "unbindable":
		return unix.MS_UNBINDABLE | rec, true
	}
	return 0, false
}

// MountOptions returns every word that FromSpec understands in
// mounts[].options, sorted, for the features that the shim advertises.
func MountOptions() []string {
	words := []string{"bind", "rbind", "tmpcopyup", "idmap", "ridmap"}
	for _, o := range options() {
		words = append(words, o.name)
		if o.kind == perMount || o.kind == accessTime {
			words = append(words, "r"+o.name)
		}
	}
	for _, w := range []string{"private", "slave", "shared", "unbindable"} {
		words = append(words, w, "r"+w)
	}
	slices.Sort(words)
	return words
}

// Attr is a change of mount attributes, as mount_setattr(2) takes it.
type Attr struct {
	Set   uint64 `json:"set,omitempty"`
	Clear uint64 `json:"clear,omitempty"`
}

// apply lets the option win over those before it.
func (a *Attr) apply(o option) {
	switch {
	case o.kind == accessTime:
		// An access time can be set only where the whole field is cleared.
		a.Set = a.Set&^unix.MOUNT_ATTR__ATIME | o.attr
		a.Clear |= unix.MOUNT_ATTR__ATIME
	case o.off:
		a.Set &^= o.attr
		a.Clear |= o.attr
	default:
		a.Set |= o.attr
		a.Clear &^= o.attr
	}
}

// parseOptions fills the mount from its options and returns what is left for
// the file system, in order. The index is for messages.
func (m *Mount) parseOptions(index int, words []string) (data []string, err error) {
	table := options()
	find := func(word string) (option, bool) {
		i := slices.IndexFunc(table, func(o option) bool { return o.name == word })
		if i < 0 {
			return option{}, false
		}
		return table[i], true
	}
	for _, w := range words {
		if w == "bind" || w == "rbind" {
			m.Bind = true
			m.Recursive = m.Recursive || w == "rbind"
		}
	}
	for _, w := range words {
		if w == "bind" || w == "rbind" || w == "" {
			continue
		}
		if w == "tmpcopyup" {
			if m.Type != "tmpfs" || m.Bind {
				return nil, invalid("mounts[%d].options of %s has %q, which is for a tmpfs alone; remove it", index, m.Destination, w)
			}
			m.CopyUp = true
			continue
		}
		if w == "idmap" || w == "ridmap" {
			m.IDMap = w
			continue
		}
		if hint := refusedOption(w); hint != "" {
			return nil, invalid("mounts[%d].options of %s has %q, but %s; remove it", index, m.Destination, w, hint)
		}
		if p, ok := propagation(w); ok {
			m.Propagation = append(m.Propagation, p)
			continue
		}
		o, ok := find(w)
		below := false
		if !ok && strings.HasPrefix(w, "r") {
			if o, ok = find(w[1:]); ok {
				below = o.kind == perMount || o.kind == accessTime
				ok = below
			}
		}
		switch {
		case !ok:
			data = append(data, w)
		case !m.Bind && o.off:
			m.Flags &^= o.ms
		case !m.Bind:
			// There is nothing below a new file system, so that ro and rro
			// are the same.
			m.Flags |= o.ms
		case o.kind == perFilesystem:
			return nil, invalid("mounts[%d].options of %s has %q, which a bind mount cannot have, because it belongs to the whole file system; remove it", index, m.Destination, w)
		case o.kind == anywhere:
		case below:
			m.AttrBelow.apply(o)
		default:
			m.Attr.apply(o)
		}
	}
	return data, nil
}

func refusedOption(word string) string {
	switch word {
	case "remount":
		return "a container's mounts are made once"
	}
	return ""
}
