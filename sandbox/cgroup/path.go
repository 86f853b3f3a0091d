package cgroup

import (
	"path"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// target is what a linux.cgroupsPath names.
type target struct {
	// path is clean, absolute, not "/", and relative to the root of each
	// hierarchy, as it is for runc: never to the cgroup of the caller.
	path string
	// slice and unit are set when the spec used the systemd form.
	slice, unit string
}

// parsePath reads linux.cgroupsPath. A path without a leading slash starts at
// the root too (runtime-spec, config-linux.md: "a runtime-determined location").
func parsePath(s string) (target, error) {
	refuse := func(why string) (target, error) {
		return target{}, control.Errorf(control.InvalidArgument,
			"linux.cgroupsPath %q %s; use an absolute path such as /default/app, or slice:prefix:name", s, why)
	}
	switch {
	case s == "":
		return refuse("is empty")
	case len(s) > 4000:
		return refuse("is too long")
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '�' {
			return refuse("contains a control character")
		}
	}
	if !strings.Contains(s, "/") && strings.Count(s, ":") == 2 {
		parts := strings.Split(s, ":")
		return parseSystemd(parts[0], parts[1], parts[2], refuse)
	}
	for part := range strings.SplitSeq(s, "/") {
		switch {
		case part == "..":
			return refuse(`contains ".."`)
		case len(part) > 255:
			return refuse("has a component of more than 255 bytes")
		case isControlFile(part):
			return refuse("has a component with the name of a cgroup control file")
		}
	}
	p := path.Clean("/" + s)
	switch {
	case p == "/":
		return refuse("is the root cgroup, which holds the node's own processes")
	case p == fsRoot, strings.HasPrefix(p, fsRoot+"/"):
		return refuse("starts with the mount point, but is relative to it")
	}
	return target{path: p}, nil
}

// controlPrefixes start the names of the files that the kernel puts into a
// cgroup: a directory of such a name cannot be made, or shadows one later.
var controlPrefixes = append([]string{"cgroup", "io", "irq", "dmem"}, v1Controllers...)

func isControlFile(name string) bool {
	switch name {
	case "tasks", "notify_on_release", "release_agent":
		return true
	}
	first, _, ok := strings.Cut(name, ".")
	if !ok {
		return false
	}
	for _, p := range controlPrefixes {
		// "cpu.scope" is somebody's unit, "cpu.max" is the kernel's.
		if first == p && !strings.HasSuffix(name, ".slice") && !strings.HasSuffix(name, ".scope") && !strings.HasSuffix(name, ".service") {
			return true
		}
	}
	return false
}

// parseSystemd reads the form slice:prefix:name, which kubelet and containerd
// use with the systemd cgroup driver. The unit is prefix-name.scope.
func parseSystemd(slice, prefix, name string, refuse func(string) (target, error)) (target, error) {
	if slice == "" {
		slice = "system.slice" // runc's default for root
	}
	dir, ok := expandSlice(slice)
	switch {
	case !ok:
		return refuse("names no valid systemd slice")
	case name == "" || prefix == "":
		return refuse("lacks the prefix or the name of the scope")
	case strings.HasSuffix(name, ".slice"):
		return refuse("names a slice where a container needs a scope")
	}
	for _, r := range prefix + name {
		// systemd.unit(5): the characters of a unit name, without "/" and "\".
		if r > 0x7f || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.@", r) {
			return refuse("has characters that a systemd unit cannot have")
		}
	}
	unit := prefix + "-" + name + ".scope"
	if len(unit) > 255 {
		return refuse("makes a unit name of more than 255 bytes")
	}
	return target{path: path.Join("/", dir, unit), slice: slice, unit: unit}, nil
}

// expandSlice returns the path of a slice: a-b.slice lies in a.slice
// (systemd.slice(5)). "-.slice" is the root.
func expandSlice(slice string) (string, bool) {
	if slice == "-.slice" {
		return "/", true
	}
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || name == "" || strings.ContainsAny(name, "/\\") || len(slice) > 255 {
		return "", false
	}
	var dir, prefix string
	for part := range strings.SplitSeq(name, "-") {
		if part == "" {
			return "", false // "a--b", "-a", "a-"
		}
		prefix += part
		dir += "/" + prefix + ".slice"
		prefix += "-"
	}
	return dir, true
}
