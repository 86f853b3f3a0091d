package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// access is what may be done with a device node.
type access uint8

const (
	read access = 1 << iota
	writing
	mknod
	everything = read | writing | mknod
)

func (a access) String() string {
	var s strings.Builder
	for i, c := range "rwm" {
		if a&(1<<i) != 0 {
			s.WriteRune(c)
		}
	}
	return s.String()
}

// wildcard stands for every major or minor number.
const wildcard = -1

// device is a pattern of device numbers.
type device struct {
	kind         byte // 'c' or 'b'
	major, minor int64
}

// covers reports whether each device of d is one of e.
func (e device) covers(d device) bool {
	return e.kind == d.kind && (e.major == wildcard || e.major == d.major) && (e.minor == wildcard || e.minor == d.minor)
}

func (e device) meets(d device) bool {
	return e.kind == d.kind && (e.major == wildcard || d.major == wildcard || e.major == d.major) &&
		(e.minor == wildcard || d.minor == wildcard || e.minor == d.minor)
}

// deviceRules is the state that a device list leads to: a default and its
// exceptions, which is what v1 keeps in the kernel.
type deviceRules struct {
	allow      bool // the default
	exceptions map[device]access
}

// defaultDevices are usable in every container (runtime-spec, config-linux.md,
// "Default Devices", and the terminals): null, zero, full, random, urandom, tty,
// ptmx, pts/*. As in runc they come after the list of the spec, and making nodes
// of any kind is allowed, since using them is not.
var defaultDevices = map[device]access{
	{'c', wildcard, wildcard}: mknod,
	{'b', wildcard, wildcard}: mknod,
	{'c', 1, 3}:               everything,
	{'c', 1, 5}:               everything,
	{'c', 1, 7}:               everything,
	{'c', 1, 8}:               everything,
	{'c', 1, 9}:               everything,
	{'c', 5, 0}:               everything,
	{'c', 5, 2}:               everything,
	{'c', 136, wildcard}:      everything,
}

// rulesOf evaluates linux.resources.devices in order, beginning with "deny all".
// It refuses a rule that the kernel would take and not honour.
func rulesOf(list []specs.LinuxDeviceCgroup) (deviceRules, error) {
	r := deviceRules{exceptions: map[device]access{}}
	for i, rule := range list {
		field := fmt.Sprintf("devices[%d]", i)
		a, ok := parseAccess(rule.Access)
		if !ok {
			return r, refuse(field+".access", "is %q; it must be made of r, w and m", rule.Access)
		}
		d := device{major: wildcard, minor: wildcard}
		if rule.Major != nil {
			d.major = *rule.Major
		}
		if rule.Minor != nil {
			d.minor = *rule.Minor
		}
		if d.major < wildcard || d.minor < wildcard || d.major > 1<<12-1 || d.minor > 1<<20-1 {
			return r, refuse(field, "has a device number outside the kernel's range")
		}
		switch rule.Type {
		case "", "a":
			if a != everything || d.major != wildcard || d.minor != wildcard {
				return r, refuse(field, `is for all types of devices; then it must be for all numbers and "rwm", since the kernel ignores anything narrower`)
			}
			r = deviceRules{allow: rule.Allow, exceptions: map[device]access{}}
			continue
		case "c", "u":
			d.kind = 'c'
		case "b":
			d.kind = 'b'
		default:
			return r, refuse(field+".type", "is %q; it must be a, b, c or u", rule.Type)
		}
		if err := r.add(field, d, a, rule.Allow); err != nil {
			return r, err
		}
	}
	for d, a := range defaultDevices {
		if r.allow {
			delete(r.exceptions, d)
		} else {
			r.exceptions[d] |= a
		}
	}
	return r, nil
}

func parseAccess(s string) (access, bool) {
	var a access
	for _, c := range s {
		i := strings.IndexRune("rwm", c)
		if i < 0 {
			return 0, false
		}
		a |= 1 << i
	}
	return a, a != 0
}

// add applies one rule. A rule against the default is an exception; a rule for
// the default takes exceptions back, which works only for the very pattern that
// was excepted (kernel, security/device_cgroup.c, dev_exception_rm).
func (r *deviceRules) add(field string, d device, a access, allow bool) error {
	if allow != r.allow {
		r.exceptions[d] |= a
		return nil
	}
	for e, had := range r.exceptions {
		if e != d && e.meets(d) && had&a != 0 {
			return refuse(field, "takes back part of what an earlier rule says about %s; write the list without the contradiction", e.numbers())
		}
	}
	if left := r.exceptions[d] &^ a; left != 0 {
		r.exceptions[d] = left
	} else {
		delete(r.exceptions, d)
	}
	return nil
}

func (e device) numbers() string {
	n := func(v int64) string {
		if v == wildcard {
			return "*"
		}
		return strconv.FormatInt(v, 10)
	}
	return fmt.Sprintf("%c %s:%s", e.kind, n(e.major), n(e.minor))
}

// sorted returns the patterns from the most to the least specific.
func sorted(m map[device]access) []device {
	all := make([]device, 0, len(m))
	for d := range m {
		all = append(all, d)
	}
	rank := func(d device) int {
		n := 0
		if d.major == wildcard {
			n += 2
		}
		if d.minor == wildcard {
			n++
		}
		return n
	}
	slices.SortFunc(all, func(a, b device) int {
		if n := rank(a) - rank(b); n != 0 {
			return n
		}
		return strings.Compare(a.numbers(), b.numbers())
	})
	return all
}

// v1 returns what is written to devices.allow and devices.deny, in order.
func (r deviceRules) v1() []write {
	base, except := "devices.deny", "devices.allow"
	if r.allow {
		base, except = except, base
	}
	writes := []write{{base, "a"}}
	for _, d := range sorted(r.exceptions) {
		writes = append(writes, write{except, d.numbers() + " " + r.exceptions[d].String()})
	}
	return writes
}

// v2 returns the list to give to cgroup2.DeviceFilter, whose program decides by
// the last entry that matches. That program takes an entry for a match as soon as
// one of the requested accesses is in it, so that "allow r" alone would let
// O_RDWR through: what is not allowed for a pattern is denied before it, and the
// patterns come from the most specific on, each with all that covers it.
func (r deviceRules) v2() []specs.LinuxDeviceCgroup {
	var checks []specs.LinuxDeviceCgroup // in the order of checking
	entry := func(d device, a access, allow bool) {
		if a != 0 {
			checks = append(checks, specs.LinuxDeviceCgroup{
				Allow: allow, Type: string(d.kind), Major: &d.major, Minor: &d.minor, Access: a.String(),
			})
		}
	}
	if r.allow {
		for _, d := range sorted(r.exceptions) {
			entry(d, r.exceptions[d], false)
		}
	} else {
		patterns := map[device]access{}
		for d := range r.exceptions {
			patterns[d] = 0
			for e := range r.exceptions {
				if d.kind == e.kind && d.major != wildcard && d.minor == wildcard && e.major == wildcard && e.minor != wildcard {
					patterns[device{d.kind, d.major, e.minor}] = 0
				}
			}
		}
		for d := range patterns {
			for e, a := range r.exceptions {
				if e.covers(d) {
					patterns[d] |= a
				}
			}
		}
		for _, d := range sorted(patterns) {
			entry(d, everything&^patterns[d], false)
			entry(d, patterns[d], true)
		}
	}
	all := int64(wildcard)
	checks = append(checks, specs.LinuxDeviceCgroup{Allow: r.allow, Type: "a", Major: &all, Minor: &all, Access: "rwm"})
	slices.Reverse(checks)
	return checks
}

// applyDevices makes the rules hold in the cgroup at path.
func (h *host) applyDevices(path string, r deviceRules) error {
	if !h.unified() {
		return h.applyDevicesV1(path, r)
	}
	return attachDevices(filepath.Join(h.v2, path), r)
}

// checkDevices refuses rules that the host cannot enforce.
func (h *host) checkDevices(r deviceRules) error {
	unrestricted := r.allow && len(r.exceptions) == 0
	if _, ok := h.dir("devices", "/"); !ok && !unrestricted {
		return refuse("devices", `restricts devices (a container without a list may use the default ones only), which needs the cgroup controller "devices"; it is not mounted on this node (cgroup v1): mount it`)
	}
	return nil
}

func (h *host) applyDevicesV1(path string, r deviceRules) error {
	dir, ok := h.dir("devices", path)
	if !ok {
		return nil // checkDevices has found nothing to restrict
	}
	for _, w := range r.v1() {
		if err := writeFile(filepath.Join(dir, w.file), w.text); err != nil {
			return fmt.Errorf("set linux.resources.devices to %q: %w", w.text, err)
		}
	}
	return nil
}

// attachDevices attaches a BPF program to the v2 cgroup dir, since v2 has no
// devices controller. The kernel drops it with the cgroup. It runs beside those
// that systemd attached: a device must pass all of them.
func attachDevices(dir string, r deviceRules) error {
	if r.allow && len(r.exceptions) == 0 {
		return nil
	}
	insts, license, err := cgroup2.DeviceFilter(r.v2())
	if err != nil {
		return fmt.Errorf("compile linux.resources.devices: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set linux.resources.devices: open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	if _, err := cgroup2.LoadAttachCgroupDeviceFilter(insts, license, fd); err != nil {
		return fmt.Errorf("set linux.resources.devices: %w", err)
	}
	return nil
}
