package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// parseAction returns the value that a filter returns for the action.
func parseAction(a specs.LinuxSeccompAction, code *uint, field, codeField string) (uint32, error) {
	if a == specs.ActErrno || a == specs.ActTrace {
		limit := uint(unix.SECCOMP_RET_DATA)
		if a == specs.ActErrno {
			// MAX_ERRNO, to which the kernel cuts it off.
			limit = 4095
		}
		with := uint(unix.EPERM)
		if code != nil {
			with = *code
		}
		if with > limit {
			return 0, fmt.Errorf("%s: %d is too large; use at most %d", codeField, with, limit)
		}
		if a == specs.ActTrace {
			return unix.SECCOMP_RET_TRACE | uint32(with), nil
		}
		return errno(with), nil
	}
	var action uint32
	switch a {
	case specs.ActKill, specs.ActKillThread:
		action = unix.SECCOMP_RET_KILL_THREAD
	case specs.ActKillProcess:
		action = unix.SECCOMP_RET_KILL_PROCESS
	case specs.ActTrap:
		action = unix.SECCOMP_RET_TRAP
	case specs.ActLog:
		action = unix.SECCOMP_RET_LOG
	case specs.ActAllow:
		action = unix.SECCOMP_RET_ALLOW
	case specs.ActNotify:
		return 0, fmt.Errorf("%s is SCMP_ACT_NOTIFY, but nobody listens for the system calls of Wasm containers; use another action", field)
	default:
		return 0, fmt.Errorf("%s: %q is not known; use one of %v", field, a, Actions())
	}
	if code != nil {
		return 0, fmt.Errorf("%s is set, but %s has no errno; remove it", codeField, a)
	}
	return action, nil
}

func errno(code uint) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(code) }

// permits says whether the call is carried out. TRACE without a tracer is
// ENOSYS.
func permits(action uint32) bool {
	return action == unix.SECCOMP_RET_ALLOW || action == unix.SECCOMP_RET_LOG
}

// lenient says whether the action is for profiles that do not list what is
// allowed.
func lenient(action uint32) bool {
	return permits(action) || action&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_TRACE
}

const flagTSync = "SECCOMP_FILTER_FLAG_TSYNC"

func parseFlags(flags []specs.LinuxSeccompFlag) (uint, error) {
	if flags == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	var bits uint
	for i, f := range flags {
		switch f {
		case flagTSync:
		case specs.LinuxSeccompFlagLog:
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			// The kernel takes it only together with a listener.
			return 0, fmt.Errorf("flags[%d]: %s is about a listener, which Wasm containers do not have; remove it", i, f)
		default:
			return 0, fmt.Errorf("flags[%d]: %q is not known; use one of %v", i, f, Flags())
		}
	}
	return bits, nil
}

// Actions returns the names of the actions that Parse takes, sorted.
func Actions() []string {
	return sorted(specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap,
		specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog)
}

// Operators returns the names of the operators that Parse takes, sorted.
func Operators() []string {
	return sorted(specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual)
}

// Archs returns the names of the architectures whose calls a profile for that
// GOARCH can rule, sorted.
func Archs(goarch string) []string {
	var names []specs.Arch
	for _, a := range family(goarch) {
		names = append(names, a.arch)
	}
	return sorted(names...)
}

// Flags returns the names of the flags that Parse takes, sorted.
func Flags() []string {
	return sorted(flagTSync, specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow)
}

func sorted[S ~string](names ...S) []string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = string(n)
	}
	slices.Sort(words)
	return words
}
