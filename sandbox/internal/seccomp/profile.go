package seccomp

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Profile is a validated profile for the programs of one GOARCH.
type Profile struct {
	flags uint
	// otherwise is the action where no rule matches.
	otherwise uint32
	// abis are the native one and those that the profile adds.
	abis []ruledABI
}

// ruledABI is what a profile says of one ABI.
type ruledABI struct {
	abi
	numbers *numbers
	// rules are sorted by number, and those for one in the order in which they
	// are tried.
	rules []rule
	// last is the highest number that the profile names. If newer is set, calls
	// above it are too new for the profile.
	last  uint32
	newer bool
}

// rule gives an action to a call whose arguments meet all conditions.
type rule struct {
	number uint32
	// order is the rule's place in the profile.
	order      int
	action     uint32
	conditions []condition
}

// badABI ends a process that makes a system call by an ABI which the profile
// does not name. libseccomp kills the thread; of a runner, which has several,
// the rest would hang for ever.
const badABI = unix.SECCOMP_RET_KILL_PROCESS

// Parse validates the profile for a kernel and a program of that GOARCH. An
// error begins with the path of a field below linux.seccomp.
//
// As in runc and libseccomp:
//
//   - A rule that repeats the default action is no rule.
//   - A call that is named by a rule without arguments has the action of the
//     first such rule, whatever the rules with arguments say of it.
//   - Names that an ABI does not have are passed over, since profiles serve
//     many kernels and processors.
//   - A rule with two conditions on one argument is a rule per condition, one of
//     which is enough. Otherwise all conditions must be met.
//   - With a default action other than ALLOW, LOG and TRACE, calls with a higher
//     number than any that the profile names give ENOSYS: programs fall back to
//     older calls only when they are told that a new one does not exist.
//   - Without flags, SPEC_ALLOW is set. TSYNC has nothing to do, since the
//     filter is loaded by a thread that becomes the process.
//
// Of several rules with arguments that match, the first wins; libseccomp picks
// one by an order of its own. An errno for an action that has none is refused,
// as the specification wants it.
func Parse(spec *specs.LinuxSeccomp, goarch string) (*Profile, error) {
	abis, err := chooseABIs(spec.Architectures, goarch)
	if err != nil {
		return nil, err
	}
	p := &Profile{abis: abis}
	if p.flags, err = parseFlags(spec.Flags); err != nil {
		return nil, err
	}
	switch {
	case spec.ListenerPath != "":
		return nil, fmt.Errorf("listenerPath is set, but nobody listens for the system calls of Wasm containers; remove it")
	case spec.ListenerMetadata != "":
		return nil, fmt.Errorf("listenerMetadata is set, but nobody listens for the system calls of Wasm containers; remove it")
	}
	if p.otherwise, err = parseAction(spec.DefaultAction, spec.DefaultErrnoRet, "defaultAction", "defaultErrnoRet"); err != nil {
		return nil, err
	}
	size := 0
	for _, s := range spec.Syscalls {
		size += len(s.Names)
	}
	for i := range p.abis {
		p.abis[i].rules = make([]rule, 0, size)
	}
	for i := range spec.Syscalls {
		if err := p.add(i, &spec.Syscalls[i]); err != nil {
			return nil, err
		}
	}
	for i := range p.abis {
		a := &p.abis[i]
		a.newer = a.last > 0 && !lenient(p.otherwise) && p.otherwise != errno(uint(unix.ENOSYS))
		slices.SortFunc(a.rules, func(x, y rule) int {
			return cmp.Or(cmp.Compare(x.number, y.number), cmp.Compare(x.order, y.order))
		})
	}
	return p, nil
}

func chooseABIs(archs []specs.Arch, goarch string) ([]ruledABI, error) {
	here := family(goarch)
	if here == nil {
		return nil, fmt.Errorf("defaultAction is set, but system calls of %s are not known to this build; remove the profile", goarch)
	}
	var abis []ruledABI
	for i, a := range here {
		if i == 0 || slices.Contains(archs, a.arch) {
			r := ruledABI{abi: a}
			if i == 0 {
				r.numbers = a.numbers(nil)
			} else {
				r.numbers = a.numbers(abis[0].numbers)
			}
			abis = append(abis, r)
		}
	}
	for i, arch := range archs {
		if !foreign(arch) {
			return nil, fmt.Errorf("architectures[%d]: %q is not known; correct it", i, arch)
		}
	}
	return abis, nil
}

// add takes over one element of syscalls.
func (p *Profile) add(i int, s *specs.LinuxSyscall) error {
	at := fmt.Sprintf("syscalls[%d].", i)
	action, err := parseAction(s.Action, s.ErrnoRet, at+"action", at+"errnoRet")
	if err != nil {
		return err
	}
	conditions := make([]condition, len(s.Args))
	var seen [maxArgs]bool
	any := false
	for j := range s.Args {
		if conditions[j], err = parseCondition(&s.Args[j], fmt.Sprintf("%sargs[%d].", at, j)); err != nil {
			return err
		}
		any = any || seen[conditions[j].index]
		seen[conditions[j].index] = true
	}
	if len(s.Names) == 0 {
		return fmt.Errorf("%snames is empty; name a system call or remove the rule", at)
	}
	alternatives := [][]condition{conditions}
	if any {
		alternatives = alternatives[:0]
		for _, c := range conditions {
			alternatives = append(alternatives, []condition{c})
		}
	}
	for j, name := range s.Names {
		if name == "" {
			return fmt.Errorf("%snames[%d] is empty; remove it", at, j)
		}
		for k := range p.abis {
			p.abis[k].add(name, action, p.otherwise, alternatives)
		}
	}
	return nil
}

func (a *ruledABI) add(name string, action, otherwise uint32, alternatives [][]condition) {
	number, ok := a.numbers.find(name)
	via, first := multiplexed(a.arch, name)
	mux, _ := a.numbers.find(via)
	// Also by rules that say nothing new.
	if ok {
		a.last = max(a.last, number)
	}
	if via != "" {
		a.last = max(a.last, mux)
	}
	if action == otherwise {
		return
	}
	for _, conditions := range alternatives {
		if ok {
			a.rules = append(a.rules, rule{number, len(a.rules), action, a.narrow(conditions)})
		}
		if via != "" {
			// The arguments proper are behind a pointer. As in libseccomp, only
			// the one that is replaced goes unchecked.
			muxed := []condition{{index: 0, op: specs.OpEqualTo, value: first}}
			for _, c := range conditions {
				if c.index != 0 {
					muxed = append(muxed, c)
				}
			}
			a.rules = append(a.rules, rule{mux, len(a.rules), action, a.narrow(muxed)})
		}
	}
}

// narrow cuts the conditions to the width of the ABI's arguments.
func (a *ruledABI) narrow(conditions []condition) []condition {
	if !a.words || len(conditions) == 0 {
		return conditions
	}
	narrow := slices.Clone(conditions)
	for i := range narrow {
		narrow[i].words = true
	}
	return narrow
}

// take returns the rules for the first number and those for the others.
func take(rules []rule) (these, rest []rule) {
	n := 1
	for n < len(rules) && rules[n].number == rules[0].number {
		n++
	}
	return rules[:n], rules[n:]
}

// decisive removes the rules for one number that never decide.
func decisive(rules []rule) []rule {
	for i, r := range rules {
		if len(r.conditions) == 0 {
			return rules[i : i+1]
		}
	}
	var kept []rule
	for _, r := range rules {
		if !slices.ContainsFunc(kept, func(k rule) bool { return slices.Equal(k.conditions, r.conditions) }) {
			kept = append(kept, r)
		}
	}
	return kept
}

// Allows says whether a native program may make the call with these arguments;
// a call that the kernel does not have by that name is not allowed.
func (p *Profile) Allows(name string, args ...uint64) bool {
	a := &p.abis[0]
	number, ok := a.numbers.find(name)
	if !ok {
		return false
	}
	var all [maxArgs]uint64
	copy(all[:], args)
	first, found := slices.BinarySearchFunc(a.rules, number, func(r rule, n uint32) int { return cmp.Compare(r.number, n) })
	if !found {
		return permits(p.otherwise)
	}
	rules, _ := take(a.rules[first:])
	for _, r := range decisive(rules) {
		if r.matches(&all) {
			return permits(r.action)
		}
	}
	return permits(p.otherwise)
}

func (r *rule) matches(args *[maxArgs]uint64) bool {
	for _, c := range r.conditions {
		if !c.met(args[c.index]) {
			return false
		}
	}
	return true
}
