package cgroup

import (
	"encoding/json"
	"errors"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// refused fails the test unless err is a sentence about that part of the spec.
func refused(t *testing.T, err error, field string) {
	t.Helper()
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Class != control.InvalidArgument || !strings.HasPrefix(e.Message, field) {
		t.Fatalf("%v is not a refusal of %s", err, field)
	}
	if !utf8.ValidString(e.Message) || strings.ContainsAny(e.Message, "\n\r\x1b\x00") {
		t.Errorf("unfit for a message: %q", e.Message)
	}
}

// FuzzParsePath holds that whatever the spec names as its cgroup is one below
// the root of every hierarchy, and none that the kernel's own files would meet.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/default/app", "kubepods-burstable.slice:cri-containerd:x", "/a/../b", "::", "-.slice:p:n"} {
		f.Add(s)
	}
	hosts := []*host{{v2: "/cg"}, {v2: "/cg/unified", v1: map[string]string{"memory": "/cg/memory", "name=systemd": "/cg/systemd"}}}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePath(s)
		if err != nil {
			refused(t, err, "linux.cgroupsPath ")
			return
		}
		if !filepath.IsAbs(p.path) || filepath.Clean(p.path) != p.path || p.path == "/" || !utf8.ValidString(p.path) {
			t.Errorf("%q became %q", s, p.path)
		}
		for part := range strings.SplitSeq(p.path[1:], "/") {
			if part == "" || part == "." || part == ".." || len(part) > 255 || isControlFile(part) || strings.ContainsAny(part, "\n\x00\x7f") {
				t.Errorf("%q became %q with %q", s, p.path, part)
			}
		}
		for _, h := range hosts {
			for _, m := range h.mounts() {
				if dir := filepath.Join(m, p.path); !strings.HasPrefix(dir, m+"/") {
					t.Errorf("%q leads to %s", s, dir)
				}
			}
		}
		if p.unit != "" {
			// What systemd makes for the unit is what the path says.
			parent := strings.TrimSuffix(p.path, "/"+p.unit)
			if parent == p.path || strings.Contains(p.unit, "/") || p.slice != "-.slice" && filepath.Base(parent) != p.slice {
				t.Errorf("%q became the unit %q in %q, and %q", s, p.unit, p.slice, p.path)
			}
		}
		// What is recorded for a later delete means the same cgroup.
		if again, err := parsePath(p.path); err != nil || again.path != p.path {
			t.Errorf("%q became %q, which is %q: %v", s, p.path, again.path, err)
		}
	})
}

// FuzzResources holds that linux.resources leads to writes to the control files
// of the container's own cgroup alone, to device rules that mean one thing on
// both versions, and to no property that is looser than its file.
func FuzzResources(f *testing.F) {
	for _, s := range []string{
		`{"memory":{"limit":67108864,"swap":134217728,"reservation":1},"pids":{"limit":10},"cpu":{"quota":50000,"period":100000,"shares":512,"cpus":"0-1"}}`,
		`{"unified":{"memory.high":"1","cgroup.procs":"0","../memory.max":"1","io.max":"8:0 rbps=1"}}`,
		`{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"access":"r"},{"allow":true,"type":"c","minor":3,"access":"w"}]}`,
		`{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"minor":0,"access":"w"}]}`,
		`{"hugepageLimits":[{"pageSize":"2MB","limit":1},{"pageSize":"../../x","limit":1}],"rdma":{"mlx5_1":{"hcaHandles":3}}}`,
		`{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":500}],"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]}}`,
		`{"network":{"classID":1,"priorities":[{"name":"eth0\nlo","priority":5}]},"cpu":{"quota":9223372036854775807,"period":1}}`,
		`{"cpu":{"quota":9223372036854775807,"period":1000000}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var res specs.LinuxResources
		if json.Unmarshal(b, &res) != nil {
			return
		}
		for _, v2 := range []bool{false, true} {
			settings, err := plan(&res, v2)
			if err != nil {
				refused(t, err, "linux.resources.")
				continue
			}
			for _, s := range settings {
				if len(s.writes) == 0 || s.field == "" {
					t.Errorf("a setting without a write or a field: %+v", s)
				}
				for _, w := range s.writes {
					name, ok := strings.CutPrefix(w.file, s.controller+".")
					if !ok || name == "" || s.controller == "cgroup" || strings.ContainsAny(w.file, "/\x00") {
						t.Errorf("%s of %q writes to %q", s.field, s.controller, w.file)
					}
				}
			}
			scopeProperties(target{}, &res, 1, v2)
		}
		if c := res.CPU; c != nil && value(c.Quota) > 0 {
			checkQuota(t, *c.Quota, value(c.Period))
		}
		rules, err := rulesOf(res.Devices)
		if err != nil {
			refused(t, err, "linux.resources.devices[")
			return
		}
		checkDeviceRules(t, rules)
	})
}

// checkQuota compares the property with the quota itself, which systemd must not
// undercut: it writes its own idea at every reload.
func checkQuota(t *testing.T, quota int64, period uint64) {
	t.Helper()
	if period == 0 {
		period = defaultPeriod
	}
	exact := new(big.Int).Mul(big.NewInt(quota), big.NewInt(1_000_000))
	exact.Div(exact, new(big.Int).SetUint64(period))
	got := new(big.Int).SetUint64(quotaPerSecond(quota, period))
	if exact.IsUint64() && got.Cmp(exact) < 0 {
		t.Errorf("a quota of %d per %d is %v per second, not %v", quota, period, got, exact)
	}
}

// checkDeviceRules asks the list for v2, as the program made of it would, and the
// rules themselves about every device that could make a difference.
func checkDeviceRules(t *testing.T, r deviceRules) {
	t.Helper()
	list := r.v2()
	asked := []device{{'c', 1, 3}, {'c', 1, 11}, {'c', 4095, 7}, {'b', 8, 0}}
	for d := range r.exceptions {
		for _, at := range []device{d, {d.kind, d.major, d.minor + 1}, {d.kind, d.major + 1, d.minor}} {
			asked = append(asked, device{at.kind, max(at.major, 0), max(at.minor, 0)})
		}
	}
	for _, d := range asked {
		var excepted access
		for e, a := range r.exceptions {
			if e.covers(d) {
				excepted |= a
			}
		}
		for want := access(1); want <= everything; want++ {
			may := want&^excepted == 0
			if r.allow {
				may = want&excepted == 0
			}
			if got := decided(list, d, want); got != may {
				t.Errorf("%v may be used for %v by the rules: %v, by the list for v2: %v", d, want, may, got)
			}
		}
	}
	for _, w := range r.v1() {
		if w.file != "devices.allow" && w.file != "devices.deny" || strings.ContainsAny(w.text, "\n") {
			t.Errorf("%+v", w)
		}
	}
}

// decided is the decision of the program for a list: the last entry that covers
// the device and names one of the accesses.
func decided(list []specs.LinuxDeviceCgroup, d device, want access) bool {
	for _, e := range slices.Backward(list) {
		a, _ := parseAccess(e.Access)
		pattern := device{kind: d.kind, major: *e.Major, minor: *e.Minor}
		if (e.Type == "a" || e.Type == string(d.kind)) && pattern.covers(d) && a&want != 0 {
			return e.Allow
		}
	}
	return false
}
