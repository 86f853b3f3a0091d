package seccomp

import (
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A filter does what the profile says, whatever the profile and the call.
func TestFiltersDoWhatTheirProfilesSay(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	kernels := []*kernel{newKernel("amd64"), newKernel("arm64")}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		for _, k := range kernels {
			spec := randomProfile(r, k.goarch)
			checkProfile(t, spec, k, r, 300)
			if t.Failed() {
				b, _ := json.Marshal(spec)
				t.Fatalf("seed %d, %s: %s", seed, k.goarch, b)
			}
		}
	}
}

// A profile comes from outside, by way of whoever may create containers.
func FuzzFilters(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		b, err := json.Marshal(randomProfile(r, "amd64"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(1))
	}
	kernels := []*kernel{newKernel("amd64"), newKernel("arm64")}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		var spec specs.LinuxSeccomp
		if json.Unmarshal(b, &spec) != nil {
			return
		}
		for _, k := range kernels {
			if _, err := Parse(&spec, k.goarch); err == nil {
				checkProfile(t, &spec, k, rand.New(rand.NewPCG(seed, 2)), 100)
			}
		}
	})
}

func checkProfile(t *testing.T, spec *specs.LinuxSeccomp, k *kernel, r *rand.Rand, calls int) {
	t.Helper()
	p, err := Parse(spec, k.goarch)
	if err != nil {
		t.Error(err)
		return
	}
	f, err := p.Compile()
	if err != nil {
		if !strings.Contains(err.Error(), "4096") {
			t.Error(err)
		}
		return
	}
	program := decode(f.Program)
	want := reference{spec, k}
	for range calls {
		c := randomCall(r, spec, k)
		got, _, err := interpret(program, c)
		if err != nil {
			t.Error(err)
			return
		}
		if w := want.action(c); got != w {
			t.Errorf("%#x of %#x with %#x gives %#x, want %#x", c.number, c.audit, c.args, got, w)
			return
		}
		if name := k.names[0][c.number]; c.audit == k.abis[0].audit && name != "" && p.Allows(name, c.args[:]...) != permits(got) {
			t.Errorf("Allows contradicts the filter for %s with %#x", name, c.args)
		}
	}
}

// kernel is what runs programs of a GOARCH and of those that it is compatible
// with.
type kernel struct {
	goarch  string
	abis    []abi
	numbers []map[string]uint32 // by name, where there is one
	names   []map[uint32]string
}

func newKernel(goarch string) *kernel {
	k := &kernel{goarch: goarch, abis: family(goarch)}
	var native *numbers
	for _, a := range k.abis {
		n := a.numbers(native)
		if native == nil {
			native = n
		}
		numbers, names := make(map[string]uint32), make(map[uint32]string)
		for name := range n.all {
			if number, ok := n.find(name); ok {
				numbers[name], names[number] = number, name
			}
		}
		k.numbers, k.names = append(k.numbers, numbers), append(k.names, names)
	}
	return k
}

// reference says what a profile means, as slowly and as plainly as possible.
type reference struct {
	spec *specs.LinuxSeccomp
	*kernel
}

func (ref *reference) action(c *call) uint32 {
	x86 := ref.abis[0].arch == specs.ArchX86_64
	listed := func(i int) bool { return i == 0 || slices.Contains(ref.spec.Architectures, ref.abis[i].arch) }
	which := -1
	for i, a := range ref.abis {
		if a.audit == c.audit && listed(i) && (a.arch == specs.ArchX32) == (x86 && i != 1 && c.number >= x32Bit) {
			which = i
		}
	}
	otherwise := ref.value(ref.spec.DefaultAction, ref.spec.DefaultErrnoRet)
	if which < 0 {
		if x86 && c.audit == unix.AUDIT_ARCH_X86_64 && c.number == ^uint32(0) {
			return otherwise
		}
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	a, last := ref.abis[which], uint32(0)
	numbers := ref.numbers[which]
	decided, matched := []uint32{}, []uint32{}
	for _, s := range ref.spec.Syscalls {
		action := ref.value(s.Action, s.ErrnoRet)
		for _, name := range s.Names {
			if n, ok := numbers[name]; ok {
				last = max(last, n)
			}
			if via, _ := multiplexed(a.arch, name); via != "" {
				last = max(last, numbers[via])
			}
			if action == otherwise {
				continue
			}
			if n, ok := numbers[name]; ok && n == c.number {
				if len(s.Args) == 0 {
					decided = append(decided, action)
				} else if met(s.Args, c, a.words, false) {
					matched = append(matched, action)
				}
			}
			if via, first := multiplexed(a.arch, name); via != "" && numbers[via] == c.number && uint32(c.args[0]) == uint32(first) {
				if met(s.Args, c, a.words, true) {
					matched = append(matched, action)
				}
			}
		}
	}
	lenient := slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, ref.spec.DefaultAction)
	switch {
	case len(decided) > 0:
		return decided[0]
	case len(matched) > 0:
		return matched[0]
	case last > 0 && c.number > last && !lenient:
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	return otherwise
}

func met(args []specs.LinuxSeccompArg, c *call, words, muxed bool) bool {
	seen := map[uint]bool{}
	twice, some, all := false, false, true
	for _, a := range args {
		twice = twice || seen[a.Index]
		seen[a.Index] = true
		x, y, z := c.args[a.Index], a.Value, a.ValueTwo
		if words {
			x, y, z = x&0xffffffff, y&0xffffffff, z&0xffffffff
		}
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: x == y, specs.OpNotEqual: x != y, specs.OpLessThan: x < y, specs.OpLessEqual: x <= y,
			specs.OpGreaterThan: x > y, specs.OpGreaterEqual: x >= y, specs.OpMaskedEqual: x&y == z&y,
		}[a.Op] || muxed && a.Index == 0
		some, all = some || ok, all && ok
	}
	if twice {
		return some
	}
	return all
}

func (ref *reference) value(a specs.LinuxSeccompAction, code *uint) uint32 {
	with := uint32(unix.EPERM)
	if code != nil {
		with = uint32(*code)
	}
	return map[specs.LinuxSeccompAction]uint32{
		specs.ActKill: unix.SECCOMP_RET_KILL_THREAD, specs.ActKillThread: unix.SECCOMP_RET_KILL_THREAD,
		specs.ActKillProcess: unix.SECCOMP_RET_KILL_PROCESS, specs.ActTrap: unix.SECCOMP_RET_TRAP,
		specs.ActErrno: unix.SECCOMP_RET_ERRNO | with, specs.ActTrace: unix.SECCOMP_RET_TRACE | with,
		specs.ActLog: unix.SECCOMP_RET_LOG, specs.ActAllow: unix.SECCOMP_RET_ALLOW,
	}[a]
}

// names are calls with numbers low and high, of some ABIs only, multiplexed on
// x86, and unknown to all.
var names = []string{
	"read", "write", "clone", "openat", "socket", "bind", "accept", "socketcall", "ipc", "shmat", "semop",
	"personality", "ioctl", "execve", "execveat", "stat64", "cacheflush", "set_tls", "set_thread_area",
	"fchmodat2", "futex_waitv", "clone3", "listns", "no_such_call",
}

var values = []uint64{0, 1, 2, 16, 0x7e020000, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<63 + 1, 1<<64 - 1}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func randomAction(r *rand.Rand) (specs.LinuxSeccompAction, *uint) {
	a := pick(r, Actions())
	if a := specs.LinuxSeccompAction(a); (a == specs.ActErrno || a == specs.ActTrace) && r.IntN(2) == 0 {
		code := uint(pick(r, []int{0, 1, 38, 4095}))
		return a, &code
	}
	return specs.LinuxSeccompAction(a), nil
}

func randomProfile(r *rand.Rand, goarch string) *specs.LinuxSeccomp {
	s := new(specs.LinuxSeccomp)
	s.DefaultAction, s.DefaultErrnoRet = randomAction(r)
	for _, a := range Archs(goarch) {
		if r.IntN(2) == 0 {
			s.Architectures = append(s.Architectures, specs.Arch(a))
		}
	}
	for range r.IntN(8) {
		var c specs.LinuxSyscall
		c.Action, c.ErrnoRet = randomAction(r)
		for range 1 + r.IntN(3) {
			c.Names = append(c.Names, pick(r, names))
		}
		if r.IntN(3) > 0 {
			for range 1 + r.IntN(3) {
				c.Args = append(c.Args, specs.LinuxSeccompArg{
					Index: uint(r.IntN(6)), Op: specs.LinuxSeccompOperator(pick(r, Operators())),
					Value: pick(r, values), ValueTwo: pick(r, values),
				})
			}
		}
		s.Syscalls = append(s.Syscalls, c)
	}
	return s
}

// randomCall is most often one that the profile names, with arguments near
// those that it compares with.
func randomCall(r *rand.Rand, spec *specs.LinuxSeccomp, k *kernel) *call {
	which := r.IntN(len(k.abis))
	a, numbers := k.abis[which], k.numbers[which]
	c := &call{audit: a.audit, number: uint32(r.IntN(600))}
	interesting := values
	for _, s := range spec.Syscalls {
		for _, arg := range s.Args {
			interesting = append(interesting, arg.Value-1, arg.Value, arg.Value+1, arg.Value&arg.ValueTwo, arg.ValueTwo)
		}
	}
	switch r.IntN(10) {
	case 0:
		c.number = pick(r, []uint32{0, ^uint32(0), x32Bit, x32Bit - 1, x32Bit + 13, 1 << 31, 0xf0005})
	case 1:
		c.audit = pick(r, []uint32{0, unix.AUDIT_ARCH_S390X})
	case 2:
	default:
		name := pick(r, names)
		if len(spec.Syscalls) > 0 {
			if s := pick(r, spec.Syscalls); len(s.Names) > 0 {
				name = pick(r, s.Names)
			}
		}
		if via, first := multiplexed(a.arch, name); via != "" && r.IntN(2) == 0 {
			c.number, c.args[0] = numbers[via], first
		} else if n, ok := numbers[name]; ok {
			c.number = n
		}
	}
	for i := range c.args {
		if i > 0 || c.args[0] == 0 {
			c.args[i] = pick(r, interesting)
		}
		if a.words && a.arch != specs.ArchX32 {
			c.args[i] &= 1<<32 - 1
		}
	}
	return c
}

func TestSystemCallsHaveTheKernelsNumbers(t *testing.T) {
	for i, want := range []map[string]uint32{
		{"read": 0, "execveat": 322, "openat2": 437, "fchmodat2": 452},
		{"read": 3, "execveat": 358, "socketcall": 102, "stat64": 195},
		{"read": 0x40000000, "execveat": 0x40000221, "ioctl": 0x40000202, "openat2": 0x400001b5},
		{"read": 63, "execveat": 281, "openat2": 437, "newfstatat": 79},
		{"read": 3, "execveat": 387, "set_tls": 0xf0005, "openat2": 437},
	} {
		k := newKernel([]string{"amd64", "amd64", "amd64", "arm64", "arm64"}[i])
		numbers := k.numbers[i%3]
		for name, n := range want {
			if got, ok := numbers[name]; !ok || got != n {
				t.Errorf("%s is %#x, want %#x", name, got, n)
			}
		}
	}
	if family(runtime.GOARCH) == nil {
		t.Skip("not a processor with a table")
	}
	if n := newKernel(runtime.GOARCH).numbers[0]; n["seccomp"] != unix.SYS_SECCOMP || n["execveat"] != unix.SYS_EXECVEAT {
		t.Error("the native table is not that of this processor")
	}
}
