// Package deleted answers `delete` for a container that its shim has deleted
// already. containerd executes the binary once more for each of them, and a
// client's Delete waits for that, so nothing is done here that need not be.
//
// It is linked into the shim's binary for its init function, which ends such a
// process before the packages behind containerd's API and the cgroups have begun:
// Go initialises first what imports little. Wherever there is anything to decide,
// the init function returns and package shim does the work; only time depends on
// the order.
package deleted

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// File is where a shim leaves, in the bundle of a container of which nothing is
// left but the bundle itself, the answer to `delete`: a DeleteResponse of
// containerd's task API, version 3, as it is marshalled.
const File = "deleted"

func init() {
	id, ok := idOf(os.Args[1:])
	if !ok {
		return
	}
	cwd, err := os.Getwd()
	if err != nil {
		return
	}
	if answer(filepath.Join(filepath.Dir(cwd), id), os.Stdout) {
		os.Exit(0)
	}
}

// idOf returns the id on the command line of `delete`, and not ok for any other.
// The flags are those of containerd, which have a value each but for -debug.
func idOf(args []string) (id string, ok bool) {
	for len(args) > 0 {
		switch {
		case args[0] == "delete":
			return id, id != "" && len(args) == 1
		case args[0] == "-debug":
			args = args[1:]
			continue
		case len(args) < 2 || !strings.HasPrefix(args[0], "-"):
			return "", false
		case args[0] == "-id":
			id = args[1]
		}
		args = args[2:]
	}
	return "", false
}

// answer gives the answer that lies in the bundle. It is false when there is none,
// or when it could not be given.
func answer(bundle string, stdout *os.File) bool {
	response, err := os.ReadFile(filepath.Join(bundle, File))
	if err != nil || len(response) == 0 {
		return false
	}
	if !removeDeadSocket(bundle) {
		return false
	}
	_, err = stdout.Write(response)
	return err == nil
}

// removeDeadSocket removes the socket of the bundle's server if nobody listens
// there any more. It is false when that could not be found out.
func removeDeadSocket(bundle string) bool {
	address, err := os.ReadFile(filepath.Join(bundle, "address"))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	path, ok := strings.CutPrefix(string(address), "unix://")
	if !ok {
		return false
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer syscall.Close(fd)
	switch err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err {
	case nil, syscall.EAGAIN, syscall.ENOENT:
		return true // it lives on for others, with EAGAIN busily, or has removed it
	case syscall.ECONNREFUSED:
		err := os.Remove(path)
		return err == nil || errors.Is(err, os.ErrNotExist)
	default:
		return false
	}
}
