package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// runsFrom starts a guest with a directory of compiled code, and tells whether it has
// code of the file mapped before it runs.
func runsFrom(t *testing.T, dir, file string) bool {
	t.Helper()
	p, err := startGuest(t, wasmtest.Exit(3), oci.Workload{}, nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if code := p.release(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	for line := range strings.Lines(string(maps)) {
		if fields := strings.Fields(line); strings.HasSuffix(fields[len(fields)-1], filepath.Base(file)) {
			return fields[1] == "r-xp"
		}
	}
	return false
}

func TestCompiledCodeIsMappedFromItsFile(t *testing.T) {
	dir := t.TempDir()
	if err := compileInDir(t, wasmtest.Exit(3), dir); err != nil {
		t.Fatal(err)
	}
	if !runsFrom(t, dir, entries(t, dir)[0]) {
		t.Error("the guest runs a copy")
	}
}

func TestCompiledCodeIsCopiedWhereItMustNotBeExecuted(t *testing.T) {
	dir := t.TempDir()
	if err := compileInDir(t, wasmtest.Exit(3), dir); err != nil {
		t.Fatal(err)
	}
	file := entries(t, dir)[0]
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		mount := os.NewFile(uintptr(fd), dir)
		defer mount.Close()
		// Nothing can be written either, so that a guest whose code is not loaded leaves no other.
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_RDONLY})
	}
	if errors.Is(err, unix.EPERM) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if runsFrom(t, fmt.Sprintf("/proc/self/fd/%d", fd), file) {
		t.Error("the guest runs what may not be executed")
	}
	if after, err := os.Stat(file); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the file was written: %v", err)
	}
}

// FuzzCodeReader reads files as the engine does: without regard to what is in them.
func FuzzCodeReader(f *testing.F) {
	dir := f.TempDir()
	head := "WAZEVO\x01v\x01\x00\x00\x00offset.."
	f.Add([]byte("\x04\x00\x00\x00"+head+"\x04\x00\x00\x00\x00\x00\x00\x00codetail"), 4)
	f.Add([]byte("\x06\x00\x00\x00__"+head+"\xff\xff\xff\xff\xff\x00\x00\x00code"), 3)
	f.Add([]byte("\xff\xff\xff\xff"+head), 100)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		path := filepath.Join(dir, "code")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := newCodeReader(file)
		if err != nil {
			_ = file.Close()
			return
		}
		defer r.Close()
		padding := int(b[0]) | int(b[1])<<8 | int(b[2])<<16 | int(b[3])<<24
		if uint64(size) > 1<<16 || size == 0 {
			size = 8
		}
		var got []byte
		for p := make([]byte, size+1)[1:]; ; { // never at a page, which the file would be mapped over
			n, err := r.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				break
			}
			if len(got) > len(b) {
				t.Fatalf("read %d bytes of %d", len(got), len(b))
			}
		}
		if want := b[padding:]; string(got) != string(want[:len(got)]) {
			t.Errorf("read %q of %q", got, want)
		}
	})
}
