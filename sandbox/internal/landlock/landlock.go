package landlock

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Access is what may be done with a file, or beneath a directory.
type Access uint64

// Kinds of access. Nothing grants the making of devices, FIFOs and sockets.
const (
	// Read is to read files and list directories.
	Read Access = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// Change is to write, make, rename and remove files, directories and symbolic
	// links.
	Change Access = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	// Control is ioctl(2) on devices.
	Control Access = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// Execute is to execute files.
	Execute Access = unix.LANDLOCK_ACCESS_FS_EXECUTE
)

// ofFiles is what a rule about a file may grant.
const ofFiles = Execute | Control | unix.LANDLOCK_ACCESS_FS_READ_FILE |
	unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE

// Rule grants access to what a descriptor, which may be one of O_PATH, is open
// on, and to everything beneath it.
type Rule struct {
	FD     int
	Access Access
}

// minABI is the first version that is of use: under version 1 (Linux 5.13 to
// 5.18) nobody could rename a file into another directory.
const minABI = 2

// ABI returns the version of Landlock that the kernel has, and 0 when that is
// none, is switched off, or is of no use here.
func ABI() int {
	abi, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 || abi < minABI {
		return 0
	}
	return int(abi)
}

// attributes is struct landlock_ruleset_attr. That of x/sys has no scopes.
type attributes struct {
	fs, net, scoped uint64
}

// of returns everything that a version can deny, but for networks, and how much
// of the struct that version knows.
//
// Networks stay open: ports are all that Landlock can tell of them, and a
// container's are a matter of its network namespace.
func of(abi int) (a attributes, size uintptr) {
	const first = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // all of version 1
	a.fs, size = first|unix.LANDLOCK_ACCESS_FS_REFER, 8
	if abi >= 3 { // Linux 6.2
		a.fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 { // Linux 6.7
		size = 16
	}
	if abi >= 5 { // Linux 6.10
		a.fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 { // Linux 6.12
		a.scoped, size = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET|unix.LANDLOCK_SCOPE_SIGNAL, 24
	}
	return a, size
}

// Restrict confines the calling thread, for good, to what the rules grant. From
// Linux 6.12 on it can neither send signals to processes outside, nor connect to
// their abstract Unix sockets. What is open stays open.
//
// It needs no_new_privs or CAP_SYS_ADMIN. Where the kernel has no Landlock of
// use, it does nothing.
func Restrict(rules []Rule) error { return restrict(ABI(), rules) }

func restrict(abi int, rules []Rule) error {
	if abi == 0 {
		return nil
	}
	a, size := of(abi)
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&a)), size, 0)
	if e != 0 {
		return fmt.Errorf("make a Landlock ruleset: %w", e)
	}
	defer unix.Close(int(fd))
	for _, r := range rules {
		if err := add(int(fd), r, Access(a.fs)); err != nil {
			return err
		}
	}
	if _, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return fmt.Errorf("enter a Landlock domain: %w", e)
	}
	return nil
}

// add grants what of a rule the ruleset denies.
func add(ruleset int, r Rule, denied Access) error {
	var st unix.Stat_t
	if err := unix.Fstat(r.FD, &st); err != nil {
		return fmt.Errorf("add a Landlock rule: %w", err)
	}
	grant := r.Access & denied
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		grant &= ofFiles
	}
	if grant == 0 {
		return nil // the kernel takes no empty rule
	}
	// struct landlock_path_beneath_attr, which is packed.
	var attr [12]byte
	*(*uint64)(unsafe.Pointer(&attr)) = uint64(grant)
	*(*int32)(unsafe.Pointer(&attr[8])) = int32(r.FD)
	_, _, e := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("add a Landlock rule: %w", e)
	}
	return nil
}
