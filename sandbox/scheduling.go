package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// Scheduling is when and where the kernel runs the program, reads for it and
// takes its memory from. All of it belongs to threads and is inherited by those
// that they make, so that the init sets it for the threads of the program.
type Scheduling struct {
	// Scheduler is process.scheduler; nil leaves what the shim has, as do the
	// others.
	Scheduler *Scheduler `json:"scheduler,omitempty"`
	// IOPriority is process.ioPriority as ioprio_set(2) takes it.
	IOPriority *int `json:"ioPriority,omitempty"`
	// CPUs are process.execCPUAffinity.final.
	CPUs []int `json:"cpus,omitempty"`
	// Memory is linux.memoryPolicy.
	Memory *MemoryPolicy `json:"memory,omitempty"`

	// initial are process.execCPUAffinity.initial.
	initial []int
}

// Scheduler is what sched_setattr(2) takes.
type Scheduler struct {
	Policy   uint32 `json:"policy"`
	Flags    uint64 `json:"flags,omitempty"`
	Nice     int32  `json:"nice,omitempty"`
	Priority uint32 `json:"priority,omitempty"`
}

// MemoryPolicy is what set_mempolicy(2) takes.
type MemoryPolicy struct {
	// Mode holds the flags, too.
	Mode  int   `json:"mode"`
	Nodes []int `json:"nodes,omitempty"`
}

// scheduling takes over process.scheduler, ioPriority and, for a further process
// in a container, execCPUAffinity, as well as linux.memoryPolicy.
func (c *Config) scheduling(p *specs.Process, linux *specs.Linux) error {
	s := new(Scheduling)
	for _, step := range []func() error{
		func() error { return s.scheduler(p.Scheduler) },
		func() error { return s.ioPriority(p.IOPriority) },
		func() error { return s.affinity(p.ExecCPUAffinity, c.Enter) },
		func() error { return s.memoryPolicy(linux.MemoryPolicy) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if s.Scheduler != nil || s.IOPriority != nil || s.CPUs != nil || s.Memory != nil || s.initial != nil {
		c.Scheduling = s
	}
	return nil
}

func (s *Scheduling) scheduler(spec *specs.Scheduler) error {
	if !present(spec) {
		return nil
	}
	const field = "process.scheduler."
	to := &Scheduler{Nice: spec.Nice, Priority: uint32(spec.Priority)}
	switch spec.Policy {
	case specs.SchedOther:
		to.Policy = unix.SCHED_NORMAL
	case specs.SchedBatch:
		to.Policy = unix.SCHED_BATCH
	case specs.SchedIdle:
		to.Policy = unix.SCHED_IDLE
	case specs.SchedFIFO:
		to.Policy = unix.SCHED_FIFO
	case specs.SchedRR:
		to.Policy = unix.SCHED_RR
	case specs.SchedDeadline:
		return invalid(field+"policy is %s, but a thread under it cannot make others, and the runner has several; use SCHED_FIFO or SCHED_RR", spec.Policy)
	default:
		return invalid(field+"policy: %q is not a policy of Linux; use SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO or SCHED_RR", spec.Policy)
	}
	realtime := to.Policy == unix.SCHED_FIFO || to.Policy == unix.SCHED_RR
	switch {
	case spec.Nice < -20 || spec.Nice > 19:
		return invalid(field+"nice: %d is out of range; use -20 to 19", spec.Nice)
	case realtime && (spec.Priority < 1 || spec.Priority > 99):
		return invalid(field+"priority: %s needs one from 1 to 99, not %d; correct it", spec.Policy, spec.Priority)
	case !realtime && spec.Priority != 0:
		return invalid(field+"priority is set, but %s has none; remove it or use nice", spec.Policy)
	case spec.Runtime != 0 || spec.Deadline != 0 || spec.Period != 0:
		return invalid(field + "runtime, deadline or period is set, but they are for SCHED_DEADLINE alone; remove them")
	}
	for i, f := range spec.Flags {
		switch f {
		case specs.SchedFlagKeepPolicy:
			to.Flags |= unix.SCHED_FLAG_KEEP_POLICY
		case specs.SchedFlagKeepParams:
			to.Flags |= unix.SCHED_FLAG_KEEP_PARAMS
		default:
			// Reset-on-fork would take the policy from the threads that run the
			// guest; the others are for SCHED_DEADLINE or for values that the
			// specification does not have.
			return invalid(field+"flags[%d]: %s cannot be honoured for the several threads of a runner; remove it", i, f)
		}
	}
	s.Scheduler = to
	return nil
}

func (s *Scheduling) ioPriority(spec *specs.LinuxIOPriority) error {
	if !present(spec) {
		return nil
	}
	// IOPRIO_CLASS_NONE is 0.
	class := slices.Index([]specs.IOPriorityClass{"", specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE}, spec.Class)
	switch {
	case class <= 0:
		return invalid("process.ioPriority.class: %q is not known; use IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE", spec.Class)
	case spec.Priority < 0 || spec.Priority > 7:
		return invalid("process.ioPriority.priority: %d is out of range; use 0 to 7", spec.Priority)
	}
	value := class<<13 | spec.Priority // IOPRIO_CLASS_SHIFT
	s.IOPriority = &value
	return nil
}

// affinity takes over process.execCPUAffinity. "This setting is not applicable
// to the container's init process", but what is wrong is told all the same.
func (s *Scheduling) affinity(spec *specs.CPUAffinity, exec bool) error {
	if spec == nil {
		return nil
	}
	initial, err := parseList("process.execCPUAffinity.initial", spec.Initial)
	if err != nil {
		return err
	}
	final, err := parseList("process.execCPUAffinity.final", spec.Final)
	if err != nil {
		return err
	}
	if exec {
		s.initial, s.CPUs = initial, final
	}
	return nil
}

func (s *Scheduling) memoryPolicy(spec *specs.LinuxMemoryPolicy) error {
	if !present(spec) {
		return nil
	}
	modes := memoryModes()
	mode := slices.Index(modes, spec.Mode)
	if mode < 0 {
		return invalid("linux.memoryPolicy.mode: %q is not known; use one of %v", spec.Mode, modes)
	}
	for i, f := range spec.Flags {
		bit := slices.Index(memoryFlags(), f)
		if bit < 0 {
			return invalid("linux.memoryPolicy.flags[%d]: %q is not known; remove it", i, f)
		}
		mode |= 1 << (13 + bit)
	}
	nodes, err := parseList("linux.memoryPolicy.nodes", spec.Nodes)
	if err != nil {
		return err
	}
	s.Memory = &MemoryPolicy{Mode: mode, Nodes: nodes}
	return nil
}

// memoryModes are in the order of the kernel's numbers, <linux/mempolicy.h>.
func memoryModes() []specs.MemoryPolicyModeType {
	return []specs.MemoryPolicyModeType{
		specs.MpolDefault, specs.MpolPreferred, specs.MpolBind, specs.MpolInterleave,
		specs.MpolLocal, specs.MpolPreferredMany, specs.MpolWeightedInterleave,
	}
}

// memoryFlags are the bits from 13 on.
func memoryFlags() []specs.MemoryPolicyFlagType {
	return []specs.MemoryPolicyFlagType{specs.MpolFNumaBalancing, specs.MpolFRelativeNodes, specs.MpolFStaticNodes}
}

// MemoryPolicyFeatures is what FromSpec understands of linux.memoryPolicy.
func MemoryPolicyFeatures() *features.MemoryPolicy {
	f := new(features.MemoryPolicy)
	for _, m := range memoryModes() {
		f.Modes = append(f.Modes, string(m))
	}
	for _, m := range memoryFlags() {
		f.Flags = append(f.Flags, string(m))
	}
	return f
}

// maxInList is more than the processors and nodes of any kernel's configuration.
const maxInList = 1 << 13

// parseList reads "0-3,7", the format of cpuset(7).
func parseList(field, list string) (numbers []int, err error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.ParseUint(first, 10, 16)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || b < a || b >= maxInList {
			return nil, invalid("%s: %q is not a list of numbers such as 0-3,7; correct it", field, list)
		}
		for n := a; n <= b; n++ {
			numbers = append(numbers, int(n))
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}

// mask gives the bits of the numbers, in words of 64.
func mask(numbers []int) []uint64 {
	if len(numbers) == 0 {
		return nil
	}
	words := make([]uint64, slices.Max(numbers)/64+1)
	for _, n := range numbers {
		words[n/64] |= 1 << (n % 64)
	}
	return words
}

// PlaceOutside applies process.execCPUAffinity.initial to a further process that
// was just started and is not in the container's cgroup yet, where the kernel
// changes what it may not use.
//
// Errors are of class InvalidArgument.
func (c *Config) PlaceOutside(pid int) error {
	if c.Scheduling == nil || c.Scheduling.initial == nil {
		return nil
	}
	if err := setAffinity(pid, c.Scheduling.initial); err != nil {
		return invalid("process.execCPUAffinity.initial: run on %v: %w", c.Scheduling.initial, err)
	}
	return nil
}

// apply is for the calling thread and those that it makes. It needs the host's
// privileges.
func (s *Scheduling) apply() error {
	if s == nil {
		return nil
	}
	if s.CPUs != nil {
		if err := setAffinity(0, s.CPUs); err != nil {
			return invalid("process.execCPUAffinity.final: run on %v: %w; name processors that the container's cgroup has", s.CPUs, err)
		}
	}
	if a := s.Scheduler; a != nil {
		err := unix.SchedSetAttr(0, &unix.SchedAttr{Policy: a.Policy, Flags: a.Flags, Nice: a.Nice, Priority: a.Priority}, 0)
		if err != nil {
			return invalid("process.scheduler: %w; the node may lack the privilege or, for a real-time policy, cpu.rt_runtime_us of the cgroup", err)
		}
	}
	if s.IOPriority != nil {
		const whoProcess = 1 // IOPRIO_WHO_PROCESS, which means a thread
		if _, _, e := unix.RawSyscall(unix.SYS_IOPRIO_SET, whoProcess, 0, uintptr(*s.IOPriority)); e != 0 {
			return invalid("process.ioPriority: %w", e)
		}
	}
	if m := s.Memory; m != nil {
		nodes := mask(m.Nodes)
		var first unsafe.Pointer
		if len(nodes) > 0 {
			first = unsafe.Pointer(&nodes[0])
		}
		// The kernel takes one bit less than it is told of.
		if _, _, e := unix.RawSyscall(unix.SYS_SET_MEMPOLICY, uintptr(m.Mode), uintptr(first), uintptr(len(nodes)*64+1)); e != 0 {
			return invalid("linux.memoryPolicy: use the nodes %v: %w", m.Nodes, e)
		}
	}
	return nil
}

func setAffinity(pid int, cpus []int) error {
	words := mask(cpus)
	_, _, e := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(pid), uintptr(len(words)*8), uintptr(unsafe.Pointer(&words[0])))
	if e != 0 {
		return fmt.Errorf("%w", e)
	}
	return nil
}
