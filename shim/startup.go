package shim

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"

	ctrshim "github.com/containerd/containerd/v2/pkg/shim"
	"golang.org/x/sys/unix"
)

// startup is a server between its fork and the moment when the daemon knows its
// address. A `start` that dies meanwhile, or cannot answer because the daemon has
// died, would leave a server that nobody ends: so the server ends by itself
// unless it is told through a pipe that the answer was given.
type startup struct {
	address string
	server  *exec.Cmd
	told    *os.File
}

// startupVariable names the server's end of the pipe in its environment, and
// addressVariable its socket: the bundle, and the file that names the socket, may
// be gone before the server has begun.
const (
	startupVariable = "CONTAINERD_SHIM_WASM_STARTUP_FD"
	addressVariable = "CONTAINERD_SHIM_WASM_ADDRESS"
)

// spawnServer starts the server of that address, whose ExtraFiles are those of
// pkg/shim. One of complete and abort ends the startup.
func spawnServer(server *exec.Cmd, address string) (*startup, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe to server: %w", err)
	}
	defer r.Close()
	fd := 3 + len(server.ExtraFiles)
	server.ExtraFiles = append(server.ExtraFiles, r)
	server.Env = append(server.Env, startupVariable+"="+strconv.Itoa(fd), addressVariable+"="+address)
	if err := server.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("start server: %w", err)
	}
	return &startup{address, server, w}, nil
}

// check fails when the server has ended already. Daemons do not ask to clean up
// after a server that they could not connect to.
func (s *startup) check() error {
	var status unix.WaitStatus
	pid, err := unix.Wait4(s.server.Process.Pid, &status, unix.WNOHANG, nil)
	if err != nil {
		return fmt.Errorf("wait for server: %w", err)
	}
	if pid != 0 {
		return fmt.Errorf("the server ended at once, with wait status %#x", uint32(status))
	}
	return nil
}

// complete tells the server that the answer was given. One that has ended since
// leaves its socket; the daemon, which has its answer, fails to connect.
func (s *startup) complete() {
	defer s.told.Close()
	if _, err := s.told.Write([]byte{1}); err != nil {
		_ = ctrshim.RemoveSocket(s.address)
	}
}

// abort ends the server.
func (s *startup) abort() {
	s.told.Close()
	_ = s.server.Process.Kill()
	_ = s.server.Wait()
}

// awaitAnswer ends this process, a server, and removes its socket when `start`
// ends without an answer. It returns at once.
func awaitAnswer() {
	fd, err := strconv.Atoi(os.Getenv(startupVariable))
	if err != nil {
		return // started by hand
	}
	_ = os.Unsetenv(startupVariable)
	unix.CloseOnExec(fd)
	go func() {
		told := os.NewFile(uintptr(fd), "startup")
		n, _ := told.Read(make([]byte, 1))
		told.Close()
		if n == 1 {
			return
		}
		_ = ctrshim.RemoveSocket(os.Getenv(addressVariable))
		fatal(fmt.Errorf("start ended without an answer; no daemon knows this server"))
	}()
}
