package codecache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// moduleDir is the directory of an entry that holds a module instead of its code.
const moduleDir = "module"

// ModuleKey is the key of a module itself, which is the same for every machine
// and engine.
func ModuleKey(digest [32]byte) Key { return Key{Module: digest, Engine: moduleDir} }

// CreateModule makes the file of a draft for ModuleKey. Whoever writes it must
// have compared it with its digest before Commit, and closes it.
func (d *Draft) CreateModule() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return nil, errors.New("keep a module: the draft has ended")
	}
	code, err := openDir(int(d.dir.Fd()), "code")
	if err != nil {
		return nil, fmt.Errorf("keep a module: %w", err)
	}
	defer unix.Close(code)
	if err := unix.Mkdirat(code, moduleDir, 0o700); err != nil {
		return nil, fmt.Errorf("keep a module: %w", os.NewSyscallError("mkdirat", err))
	}
	dir, err := openDir(code, moduleDir)
	if err != nil {
		return nil, fmt.Errorf("keep a module: %w", err)
	}
	defer unix.Close(dir)
	name := hex.EncodeToString(d.key.Module[:])
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep a module: %w", &os.PathError{Op: "create", Path: name, Err: err})
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenModule opens the module of an entry of ModuleKey for reading. The file
// stays readable whatever becomes of the entry.
func (e *Entry) OpenModule() (*os.File, error) {
	dir, err := openDir(int(e.code.Fd()), moduleDir)
	if err != nil {
		return nil, fmt.Errorf("open a kept module: %w", err)
	}
	defer unix.Close(dir)
	names, err := namesIn(dir)
	if err != nil || len(names) != 1 {
		return nil, fmt.Errorf("open a kept module: %q instead of one file: %w", names, err)
	}
	fd, err := openFile(dir, names[0])
	if err != nil {
		return nil, fmt.Errorf("open a kept module: %w", err)
	}
	return os.NewFile(uintptr(fd), names[0]), nil
}
