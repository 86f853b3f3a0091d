package sandbox

import (
	"fmt"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestSchedulingCoversTheThreadsOfTheProgram(t *testing.T) {
	for _, user := range []bool{false, true} {
		spec := with(func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: -5}
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT, Priority: 3}
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux}
			// It is for further processes, so that processors which no machine
			// has are none of the init's business.
			s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "8000", Final: "8000"}
		})
		if user {
			inUserNamespace(spec)
		}
		v, err := (&sandboxTest{rootfs: remapped(t)}).run(t, spec)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(unix.SCHED_BATCH, -5, 0); v.Sched != want {
			t.Errorf("policy, niceness and priority are %s, want %s", v.Sched, want)
		}
		if want := 1<<13 | 3; v.IOPrio != want {
			t.Errorf("the I/O priority is %#x, want %#x", v.IOPrio, want)
		}
		if want := (1<<15|2)<<8 | 1; v.Memory != want {
			t.Errorf("the memory policy is %#x, want %#x", v.Memory, want)
		}
	}
	own, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	v := mustRun(t, ctrSpec(), wish{})
	if v.Sched != fmt.Sprint(own.Policy, own.Nice, own.Priority) || v.Memory != 0 {
		t.Errorf("by default %s, %#x", v.Sched, v.Memory)
	}
}

func TestSchedulingThatIsRefused(t *testing.T) {
	scheduler := func(s specs.Scheduler) func(*specs.Spec) {
		return func(spec *specs.Spec) { spec.Process.Scheduler = &s }
	}
	for _, test := range []struct {
		field  string
		change func(*specs.Spec)
	}{
		{"process.scheduler.policy", scheduler(specs.Scheduler{Nice: 1})},
		{"process.scheduler.policy", scheduler(specs.Scheduler{Policy: specs.SchedISO})},
		{"process.scheduler.policy is SCHED_DEADLINE", scheduler(specs.Scheduler{Policy: specs.SchedDeadline})},
		{"process.scheduler.nice", scheduler(specs.Scheduler{Policy: specs.SchedOther, Nice: 20})},
		{"process.scheduler.priority", scheduler(specs.Scheduler{Policy: specs.SchedOther, Priority: 1})},
		{"process.scheduler.priority", scheduler(specs.Scheduler{Policy: specs.SchedFIFO})},
		{"process.scheduler.priority", scheduler(specs.Scheduler{Policy: specs.SchedRR, Priority: 100})},
		{"process.scheduler.runtime", scheduler(specs.Scheduler{Policy: specs.SchedOther, Runtime: 1})},
		{"process.scheduler.flags[1]", scheduler(specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagKeepPolicy, specs.SchedFlagResetOnFork}})},
		{"process.ioPriority.class", func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_X"} }},
		{"process.ioPriority.priority", func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		}},
		{"process.execCPUAffinity.initial", func(s *specs.Spec) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "3-1"} }},
		{"process.execCPUAffinity.final", func(s *specs.Spec) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "0,x"} }},
		{"linux.memoryPolicy.mode", func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_X"} }},
		{"linux.memoryPolicy.nodes", func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "99999"}
		}},
		{"linux.memoryPolicy.flags[0]", func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Flags: []specs.MemoryPolicyFlagType{"MPOL_F_X"}}
		}},
		{"linux.personality.domain", func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} }},
		{"linux.personality.flags", func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux, Flags: []specs.LinuxPersonalityFlag{"x"}}
		}},
	} {
		_, err := FromSpec(with(test.change), "/rootfs", []string{"x"})
		wantRefusal(t, err, control.InvalidArgument, test.field)
	}
	// What only the kernel knows.
	_, err := (&sandboxTest{}).run(t, with(func(s *specs.Spec) {
		s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "1000"}
	}))
	wantRefusal(t, err, control.InvalidArgument, "linux.memoryPolicy: use the nodes [1000]: ")
}

func TestTimeNamespace(t *testing.T) {
	var host unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &host); err != nil {
		t.Fatal(err)
	}
	const week = 7 * 24 * 3600
	for _, user := range []bool{false, true} {
		spec := with(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: week, Nanosecs: 5}, "monotonic": {Secs: -1}}
		})
		if user {
			inUserNamespace(spec)
		}
		v, err := (&sandboxTest{rootfs: remapped(t), wish: wish{Read: []string{"/proc/self/timens_offsets"}}}).run(t, spec)
		if err != nil {
			t.Fatal(err)
		}
		if v.Namespaces["time"] == links("/proc/self/ns")["time"] {
			t.Error("the time namespace is that of the host")
		}
		if v.Boot < host.Sec+week {
			t.Errorf("booted %d seconds ago, on the host %d", v.Boot, host.Sec)
		}
	}
	for text, change := range map[string]func(*specs.Linux){
		"linux.timeOffsets is set, but": func(l *specs.Linux) { l.Namespaces = l.Namespaces[:len(l.Namespaces)-1] },
		`linux.timeOffsets: "realtime"`: func(l *specs.Linux) { l.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {}} },
		"linux.timeOffsets.boottime.nanosecs": func(l *specs.Linux) {
			l.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Nanosecs: 1e9}}
		},
	} {
		_, err := FromSpec(with(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}}
			change(s.Linux)
		}), "/rootfs", []string{"x"})
		wantRefusal(t, err, control.InvalidArgument, text)
	}
	// The kernel lets no clock go below 0.
	_, err := (&sandboxTest{}).run(t, with(func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: -1 << 40}}
	}))
	wantRefusal(t, err, control.InvalidArgument, "linux.timeOffsets: set monotonic -1099511627776 0: ")
}

func TestJoinedTimeNamespace(t *testing.T) {
	held := hold(t, unix.CLONE_NEWNET) // in the host's time namespace
	join := func(path string) *specs.Spec {
		return with(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace, Path: path})
		})
	}
	v := mustRun(t, join(held("time")), wish{})
	if v.Namespaces["time"] != links("/proc/self/ns")["time"] {
		t.Error("the time namespace is not that of the host")
	}
	_, err := (&sandboxTest{}).run(t, join(held("net")))
	wantRefusal(t, err, control.InvalidArgument, "linux.namespaces: enter the time namespace /proc/")
}
