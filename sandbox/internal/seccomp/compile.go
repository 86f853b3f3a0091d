package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Compile turns the profile into a filter. It fails when the filter would
// exceed the kernel's limit.
func (p *Profile) Compile() (*Filter, error) {
	program := append(make([]instruction, 0, 1024), load(offsetArch))
	var done []uint32
	for i := range p.abis {
		audit := p.abis[i].audit
		if slices.Contains(done, audit) {
			continue
		}
		done = append(done, audit)
		program = append(program, jump(jumpEqual, audit, 1, 0), instruction{})
		start := len(program)
		program = search(append(program, load(offsetNumber)), p.segments(audit))
		program[start-1] = skip(len(program) - start)
	}
	program = append(program, give(badABI))
	return newFilter(program, p.flags)
}

// segment is a range of numbers for which a filter does the same, up to the
// start of the next one.
type segment struct {
	start uint32
	// rules, all with conditions, are tried first; otherwise is what is left.
	rules     []rule
	otherwise uint32
}

// segments covers all numbers of the ABIs that share the audit number.
func (p *Profile) segments(audit uint32) []segment {
	var s []segment
	add := func(n segment) {
		if last := len(s) - 1; last >= 0 && len(s[last].rules) == 0 && len(n.rules) == 0 && s[last].otherwise == n.otherwise {
			return
		}
		s = append(s, n)
	}
	native, x32 := false, false
	for i := range p.abis {
		a := &p.abis[i]
		if a.audit != audit {
			continue
		}
		next := uint32(0)
		switch a.arch {
		case specs.ArchX86_64:
			native = true
		case specs.ArchX32:
			next, x32 = x32Bit, true
		}
		add(segment{start: next, otherwise: p.otherwise})
		for rest := a.rules; len(rest) > 0; {
			var rules []rule
			rules, rest = take(rest)
			number := rules[0].number
			if number > next {
				add(segment{start: next, otherwise: p.otherwise})
			}
			rules = decisive(rules)
			if len(rules[0].conditions) == 0 {
				add(segment{start: number, otherwise: rules[0].action})
			} else {
				add(segment{start: number, rules: rules, otherwise: p.otherwise})
			}
			next = number + 1
		}
		add(segment{start: next, otherwise: p.otherwise})
		if a.newer {
			add(segment{start: a.last + 1, otherwise: errno(uint(unix.ENOSYS))})
		}
	}
	if native && !x32 {
		add(segment{start: x32Bit, otherwise: badABI})
		// The number of a call that a tracer skips.
		add(segment{start: ^uint32(0), otherwise: p.otherwise})
	}
	return s
}

// search appends what finds the segment of the number that is loaded, in as many
// steps as the logarithm of their count.
func search(code []instruction, s []segment) []instruction {
	if len(s) == 1 {
		for _, r := range s[0].rules {
			code = append(code, r.code()...)
		}
		return append(code, give(s[0].otherwise))
	}
	at, middle := len(code), len(s)/2
	code = append(code, instruction{})
	code = search(code, s[:middle])
	if below := len(code) - at - 1; below <= 255 {
		code[at] = jump(jumpGreaterEqual, s[middle].start, below, 0)
	} else {
		code[at] = jump(jumpGreaterEqual, s[middle].start, 0, 1)
		code = slices.Insert(code, at+1, skip(below))
	}
	return search(code, s[middle:])
}

// code ends the filter when the rule matches and continues after itself when
// it does not.
func (r *rule) code() []instruction {
	code := []instruction{give(r.action)}
	for _, c := range slices.Backward(r.conditions) {
		code = append(c.code(len(code)), code...)
	}
	return code
}
