package wasi

import (
	"os"

	"golang.org/x/sys/unix"
)

// random reads the kernel's random numbers. crypto/rand would do the same and
// bring big integers into the process.
type random struct{}

func (random) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		// More than 256 bytes at once may be cut short by a signal.
		m, err := unix.Getrandom(p[n:], 0)
		if err != nil && err != unix.EINTR {
			return n, os.NewSyscallError("getrandom", err)
		}
		n += max(m, 0)
	}
	return len(p), nil
}
