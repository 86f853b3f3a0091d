package vm

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

//go:embed init.sh
var initScript string

// Program is one test program, as `go test -c` makes it.
type Program struct {
	// Package is its import path.
	Package string
	// File is the program on this machine. It is linked statically.
	File string
	// Dir is its working directory in the machine.
	Dir string
	// Env and Args are as for exec.Cmd, without the program's name.
	Env, Args []string
}

// ExitError says that a program ended with another status than 0.
type ExitError struct{ Package, Status string }

func (e *ExitError) Error() string {
	return fmt.Sprintf("the tests of %s ended with status %s", e.Package, e.Status)
}

// Machine is a virtual machine before its start.
type Machine struct {
	Emulator *provision.Emulator
	// Kernel is its image, and Modules the directory of its modules.
	Kernel, Modules string
	// Busybox is a static busybox.
	Busybox string
	// Files maps paths in the machine to those of files and directories here.
	Files    map[string]string
	Programs []Program
}

// Run starts the machine, runs the programs one after the other and returns when
// it is off; it is gone when ctx ends. output gets what each program prints. The
// error is an *ExitError if all went well but a program, and tells the last lines
// of the console when the machine ended before its programs.
func (m *Machine) Run(ctx context.Context, output func(p Program, r io.Reader) error) error {
	dir, err := os.MkdirTemp("", "cdwasm-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ramdisk := filepath.Join(dir, "ramdisk")
	if err := m.writeImage(ramdisk); err != nil {
		return fmt.Errorf("make the machine's RAM disk: %w", err)
	}
	args, env := m.Emulator.Command()
	args = append(args,
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.Kernel, "-initrd", ramdisk, "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
		"-serial", "file:"+filepath.Join(dir, "console"), "-serial", "stdio")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	// It ends with this process, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	port, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failed, err := m.read(port, output)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	if err := errors.Join(err, cmd.Wait(), context.Cause(ctx)); err != nil {
		console, _ := os.ReadFile(filepath.Join(dir, "console"))
		return fmt.Errorf("virtual machine: %w\n%s%s", err, &stderr, tail(console))
	}
	if failed != nil {
		return failed
	}
	return nil
}

func tail(b []byte) []byte {
	const most = 4 << 10
	return b[max(0, len(b)-most):]
}

func (m *Machine) writeImage(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	im := newImage(f)
	im.text("/init", initScript, 0o755)
	im.file("/bin/busybox", m.Busybox)
	im.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	im.text("/etc/group", "root:x:0:\ntty:x:5:\n", 0o644)
	im.text("/etc/hosts", "127.0.0.1 localhost\n", 0o644)
	im.text("/etc/resolv.conf", "", 0o644)
	for _, dir := range []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/var"} {
		im.directory(dir)
	}
	for _, module := range []string{"fs/overlayfs/overlay.ko", "drivers/block/brd.ko"} {
		im.file("/modules/"+filepath.Base(module), filepath.Join(m.Modules, module))
	}
	for name, from := range m.Files {
		if fi, err := os.Stat(from); err == nil && fi.IsDir() {
			im.tree(name, from)
		} else {
			im.file(name, from)
		}
	}
	var run strings.Builder
	for i, p := range m.Programs {
		program := fmt.Sprintf("/tests/%d-%s", i, filepath.Base(p.File))
		im.file(program, p.File)
		im.directory(p.Dir)
		fmt.Fprintf(&run, "run %s %s env", quote(p.Package), quote(p.Dir))
		for _, word := range append(append(p.Env, program), p.Args...) {
			run.WriteString(" " + quote(word))
		}
		run.WriteString("\n")
	}
	im.text("/tests/run", run.String(), 0o644)
	return im.close()
}

func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// read splits what comes from the machine by program. It returns the first
// program that failed.
func (m *Machine) read(port io.Reader, output func(Program, io.Reader) error) (failed *ExitError, _ error) {
	lines := bufio.NewReader(port)
	for _, p := range m.Programs {
		if _, err := readTo(lines, io.Discard, "==> begin "+p.Package); err != nil {
			return nil, fmt.Errorf("before the start of %s: %w", p.Package, err)
		}
		r, w := io.Pipe()
		result := make(chan error, 1)
		go func() {
			err := output(p, r)
			r.CloseWithError(err) // what it does not read must not hold up the rest
			result <- err
		}()
		status, err := readTo(lines, w, "==> end "+p.Package+" ")
		w.CloseWithError(err)
		if err := errors.Join(err, <-result); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Package, err)
		}
		if status != "0" && failed == nil {
			failed = &ExitError{p.Package, status}
		}
	}
	_, err := readTo(lines, io.Discard, "==> all")
	return failed, err
}

// readTo copies whole lines up to one with that prefix, and returns the rest of
// that one.
func readTo(r *bufio.Reader, w io.Writer, prefix string) (rest string, _ error) {
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			return "", io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(rest), nil
		}
		if _, err := io.WriteString(w, line); err != nil {
			return "", err
		}
	}
}
