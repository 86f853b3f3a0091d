package cgroup

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// plan turns linux.resources, except for its devices, into settings in the
// order in which they must be written. As with runc, 0 means "not set" for
// memory, cpu and block weights, and -1 "unlimited".
func plan(res *specs.LinuxResources, v2 bool) ([]setting, error) {
	p := planner{v2: v2}
	if m := res.Memory; m != nil {
		p.memory(m)
	}
	if c := res.CPU; c != nil {
		p.cpu(c)
	}
	if res.Pids != nil && res.Pids.Limit != nil {
		p.pids(*res.Pids.Limit)
	}
	if b := res.BlockIO; b != nil {
		p.blockIO(b)
	}
	p.hugepages(res.HugepageLimits)
	if n := res.Network; n != nil {
		p.network(n)
	}
	p.rdma(res.Rdma)
	p.unified(res.Unified) // last: it is the more specific wish
	return p.out, p.err
}

// planner collects settings and the first refusal.
type planner struct {
	v2  bool
	out []setting
	err error
}

func (p *planner) refuse(field, format string, args ...any) {
	if p.err == nil {
		p.err = refuse(field, format, args...)
	}
}

func (p *planner) set(field, controller string, writes ...write) {
	p.out = append(p.out, setting{field: field, controller: controller, writes: writes})
}

// either sets the v1 or the v2 file to the same text.
func (p *planner) either(field, controller, v1, v2, text string) {
	file := v1
	if p.v2 {
		file = v2
	}
	p.set(field, controller, write{file, text})
}

// onlyV1 sets a file that v2 has no equivalent of.
func (p *planner) onlyV1(field, controller, file, text string) {
	if p.v2 {
		p.refuse(field, "cannot be applied with cgroup v2, which has no such limit; remove it")
		return
	}
	p.set(field, controller, write{file, text})
}

func (p *planner) memory(m *specs.LinuxMemory) {
	limit, reservation, swap := value(m.Limit), value(m.Reservation), value(m.Swap)
	for _, f := range []struct {
		field string
		n     int64
	}{{"memory.limit", limit}, {"memory.reservation", reservation}, {"memory.swap", swap}} {
		if f.n < -1 {
			p.refuse(f.field, "is %d; it is a number of bytes, or -1 for unlimited", f.n)
		}
	}
	switch {
	case swap > 0 && limit <= 0:
		p.refuse("memory.swap", "is the sum of memory and swap and needs memory.limit, which is not set; set both")
	case swap > 0 && swap < limit:
		p.refuse("memory.swap", "is the sum of memory and swap: %d is less than memory.limit %d; raise it", swap, limit)
	}
	if limit != 0 {
		p.either("memory.limit", "memory", "memory.limit_in_bytes", "memory.max", p.bytes(limit))
	}
	if reservation != 0 {
		p.either("memory.reservation", "memory", "memory.soft_limit_in_bytes", "memory.low", p.bytes(reservation))
	}
	p.swap(limit, swap)
	//lint:ignore SA1019 deprecated, and therefore refused when it is set
	if value(m.Kernel) != 0 {
		p.refuse("memory.kernel", "has had no effect since kernel 5.4; remove it (memory.limit covers kernel memory)")
	}
	if n := value(m.KernelTCP); n != 0 {
		p.onlyV1("memory.kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", strconv.FormatInt(n, 10))
	}
	if m.Swappiness != nil {
		p.onlyV1("memory.swappiness", "memory", "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10))
	}
	if value(m.DisableOOMKiller) {
		p.onlyV1("memory.disableOOMKiller", "memory", "memory.oom_control", "1")
	}
	if m.UseHierarchy != nil {
		switch {
		case !p.v2:
			// Since kernel 5.11 always 1; the kernel refuses 0 by EINVAL.
			p.set("memory.useHierarchy", "memory", write{"memory.use_hierarchy", digit(*m.UseHierarchy)})
		case !*m.UseHierarchy:
			p.refuse("memory.useHierarchy", "cannot be false with cgroup v2, which is always hierarchical; remove it")
		}
	}
	// checkBeforeUpdate is Update's: a new cgroup uses nothing yet.
}

// swap converts the sum of memory and swap, which v1 takes as it is, into the
// swap alone, which v2 takes.
func (p *planner) swap(limit, swap int64) {
	if !p.v2 {
		if swap != 0 {
			p.out = append(p.out, setting{
				field: "memory.swap", controller: "memory", optional: swap == -1,
				writes: []write{{"memory.memsw.limit_in_bytes", strconv.FormatInt(swap, 10)}},
			})
		}
		return
	}
	if swap == 0 {
		if limit != -1 {
			return
		}
		swap = -1 // runc: memory -1 alone means both, as on v1
	}
	text := "max"
	if swap > 0 {
		text = strconv.FormatInt(max(swap-limit, 0), 10)
	}
	p.out = append(p.out, setting{
		field: "memory.swap", controller: "memory",
		// Without swap accounting there is no file; runc tolerates that for
		// "none" and "unlimited", and kubelet relies on it.
		optional: text == "max" || text == "0",
		writes:   []write{{"memory.swap.max", text}},
	})
}

func (p *planner) bytes(n int64) string {
	if n == -1 && p.v2 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func (p *planner) pids(limit int64) {
	text := "max"
	switch {
	case limit > 0:
		text = strconv.FormatInt(limit, 10)
	case limit == 0:
		text = "1" // as runc: systemd cannot express 0, and the effect is the same
	}
	p.set("pids.limit", "pids", write{"pids.max", text})
}

// pageSize is a hugepage size as file names spell it, such as 2MB.
var pageSize = regexp.MustCompile(`^[0-9]{1,9}[KMG]B$`)

func (p *planner) hugepages(limits []specs.LinuxHugepageLimit) {
	for i, l := range limits {
		field := fmt.Sprintf("hugepageLimits[%d]", i)
		if !pageSize.MatchString(l.Pagesize) {
			p.refuse(field, "has the page size %q; it must look like 2MB", l.Pagesize)
			continue
		}
		suffix := "limit_in_bytes"
		if p.v2 {
			suffix = "max"
		}
		bytes := strconv.FormatUint(l.Limit, 10)
		p.set(field, "hugetlb", write{"hugetlb." + l.Pagesize + "." + suffix, bytes})
		// The limit on reservations exists since kernel 5.7; without it the
		// limit above still holds when pages are touched.
		p.out = append(p.out, setting{
			field: field, controller: "hugetlb", optional: true,
			writes: []write{{"hugetlb." + l.Pagesize + ".rsvd." + suffix, bytes}},
		})
	}
}

func (p *planner) network(n *specs.LinuxNetwork) {
	if id := value(n.ClassID); id != 0 {
		p.onlyV1("network.classID", "net_cls", "net_cls.classid", strconv.FormatUint(uint64(id), 10))
	}
	for i, prio := range n.Priorities {
		p.onlyV1(fmt.Sprintf("network.priorities[%d]", i), "net_prio", "net_prio.ifpriomap", fmt.Sprintf("%s %d", prio.Name, prio.Priority))
	}
}

func (p *planner) rdma(limits map[string]specs.LinuxRdma) {
	for _, device := range slices.Sorted(maps.Keys(limits)) {
		text := device
		if n := limits[device].HcaHandles; n != nil {
			text += fmt.Sprintf(" hca_handle=%d", *n)
		}
		if n := limits[device].HcaObjects; n != nil {
			text += fmt.Sprintf(" hca_object=%d", *n)
		}
		if text == device {
			continue // names a device and limits nothing
		}
		p.set("rdma["+strconv.Quote(device)+"]", "rdma", write{"rdma.max", text})
	}
}

// unifiedFile is a control file of a controller; cgroup.* files would move
// processes, freeze the container or delegate it.
var unifiedFile = regexp.MustCompile(`^([a-z0-9_]+)(\.[A-Za-z0-9_]+)+$`)

func (p *planner) unified(files map[string]string) {
	for _, file := range slices.Sorted(maps.Keys(files)) {
		field := "unified[" + strconv.Quote(file) + "]"
		m := unifiedFile.FindStringSubmatch(file)
		switch {
		case !p.v2:
			p.refuse(field, "needs cgroup v2, and this node uses v1; use the named fields of linux.resources")
		case m == nil || m[1] == "cgroup":
			p.refuse(field, "is not a controller's control file; use a name such as memory.high")
		default:
			p.set(field, m[1], write{file, files[file]})
		}
	}
}

func value[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
