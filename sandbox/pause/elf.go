package pause

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// instruction is one of the program, or the data behind them.
type instruction struct {
	// text is what a disassembler says of it; empty for data.
	text string
	code string
}

// base is the address of the program's only segment.
const base = 0x400000

// File returns the program in an anonymous file that nobody can change. label is
// the SELinux context that the file gets, so that a confined process may execute
// it; empty is none.
func File(label string) (*os.File, error) {
	program, err := program(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("pause", flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("pause", flags) // before Linux 6.3
	}
	if errors.Is(err, unix.EACCES) {
		return nil, errors.New("the sysctl vm.memfd_noexec forbids to execute anonymous files; set it to 0 or 1")
	}
	if err != nil {
		return nil, fmt.Errorf("make a file for the pause program: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pause")
	if err := fill(f, program, label); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the pause program: %w", err)
	}
	return f, nil
}

func fill(f *os.File, program []byte, label string) error {
	if _, err := f.Write(program); err != nil {
		return err
	}
	if label != "" {
		if err := unix.Fsetxattr(int(f.Fd()), "security.selinux", []byte(label), 0); err != nil {
			return fmt.Errorf("label it %q: %w", label, err)
		}
	}
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS,
		unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return err
}

// Calls names the system calls of the program.
func Calls() []string {
	return []string{"rt_sigprocmask", "prctl", "write", "read", "close", "wait4", "rt_sigtimedwait", "exit_group"}
}

// program returns the ELF file for that architecture, in the names of Go.
func program(arch string) ([]byte, error) {
	var code []instruction
	var machine elf.Machine
	switch arch {
	case "amd64":
		code, machine = amd64(), elf.EM_X86_64
	case "arm64":
		code, machine = arm64(), elf.EM_AARCH64
	default:
		return nil, fmt.Errorf("there is no pause program for %s", arch)
	}
	var text bytes.Buffer
	for _, i := range code {
		text.WriteString(i.code)
	}
	header := elf.Header64{
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(machine),
		Version:   uint32(elf.EV_CURRENT),
		Ehsize:    uint16(binary.Size(elf.Header64{})),
		Phentsize: uint16(binary.Size(elf.Prog64{})),
		Phnum:     2,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	header.Phoff = uint64(header.Ehsize)
	start := header.Phoff + uint64(header.Phnum*header.Phentsize)
	header.Entry = base + start
	size := start + uint64(text.Len())
	segment := elf.Prog64{
		Type:   uint32(elf.PT_LOAD),
		Flags:  uint32(elf.PF_R | elf.PF_X),
		Vaddr:  base,
		Paddr:  base,
		Filesz: size,
		Memsz:  size,
		Align:  64 << 10, // the largest page of arm64
	}
	// Without it the kernel makes the stack executable.
	stack := elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)}

	var out bytes.Buffer
	for _, part := range []any{header, segment, stack, text.Bytes()} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
