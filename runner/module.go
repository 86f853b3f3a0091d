package runner

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// maxModule is the largest binary that is accepted. Compiling takes about 25
// times its size in memory, so that a larger one is an accident.
const maxModule = 256 << 20

// readModule reads the binary behind a descriptor into memory of its own, which
// unmapModule returns to the system. It is not a mapping of the file: whoever
// can write the file could change it between the check, the hash that selects
// compiled code, and the decoding, and truncating it would kill this process.
func readModule(fd int, module string) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, control.Errorf(control.Internal, "%s: stat: %w", module, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, control.Errorf(control.InvalidArgument, "%s is not a regular file; name the .wasm file in the image's entrypoint", module)
	}
	if st.Size > maxModule {
		return nil, control.Errorf(control.InvalidArgument, "%s has %s, but a module may have %s; strip its debug sections, or keep data outside of it",
			module, size(uint64(st.Size)), size(maxModule))
	}
	if st.Size == 0 {
		return nil, checkKind(nil, module)
	}
	b, err := unix.Mmap(-1, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, control.Errorf(control.ResourceExhausted, "%s: allocate memory for the module: %w; raise the container's memory limit", module, err)
	}
	for n := 0; n < len(b); {
		m, err := unix.Pread(fd, b[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			unmapModule(b)
			if err == nil {
				err = unix.EIO // It shrank since fstat.
			}
			return nil, control.Errorf(control.Unavailable, "read %s: %w", module, os.NewSyscallError("pread", err))
		}
		n += m
	}
	return b, nil
}

// ReadModule reads a binary as a guest's process does, with its limits, into memory
// that unmap frees. The error is a *control.Error.
func ReadModule(f *os.File, name string) (binary []byte, unmap func(), err error) {
	binary, err = readModule(int(f.Fd()), name)
	if err != nil {
		return nil, nil, err
	}
	return binary, func() { unmapModule(binary) }, nil
}

func unmapModule(b []byte) { _ = unix.Munmap(b) }
