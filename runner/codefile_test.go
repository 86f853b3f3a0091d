package runner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// assertLoads fails the test if the module is compiled although its code is there.
func assertLoads(t *testing.T, dir string, binary []byte) {
	t.Helper()
	info, err := inspect(binary, "app.wasm")
	if err != nil {
		t.Fatal(err)
	}
	r, _, ok := loadCompiled(t.Context(), dir, prepare(binary, info), info, "app.wasm")
	if !ok {
		t.Fatal("the module is compiled again")
	}
	r.Close(t.Context())
}

func TestCompiledCodeIsMappedFromItsFile(t *testing.T) {
	dir := t.TempDir()
	if err := compileInDir(t, wasmtest.Exit(3), dir); err != nil {
		t.Fatal(err)
	}
	if !runsFrom(t, dir, entries(t, dir)[0]) {
		t.Error("the guest runs a copy")
	}
	assertLoads(t, dir, wasmtest.Exit(3))
}

func TestCompiledCodeIsCopiedWhereItMustNotBeExecuted(t *testing.T) {
	dir := t.TempDir()
	if err := compileInDir(t, wasmtest.Exit(3), dir); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		mount := os.NewFile(uintptr(fd), dir)
		defer mount.Close()
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOEXEC})
	}
	if errors.Is(err, unix.EPERM) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	mounted := fmt.Sprintf("/proc/self/fd/%d", fd)
	if runsFrom(t, mounted, entries(t, dir)[0]) {
		t.Error("the guest runs what may not be executed")
	}
	assertLoads(t, mounted, wasmtest.Exit(3))
}

// Of modules with lines the engine keeps a map from each instruction to them, which is
// larger than any buffer.
func TestCompiledCodeWithLinesIsLoaded(t *testing.T) {
	m := &wasmtest.Module{}
	m.Memory(1)
	m.Func(m.Type(nil, nil), bytes.Repeat(slices.Concat(wasmtest.I32Const(16), wasmtest.I32Const(1), wasmtest.I32Store), 8<<10))
	// One unit of DWARF 4 that says nothing.
	m.Custom(".debug_info", []byte{7, 0, 0, 0, 4, 0, 0, 0, 0, 0, 4})
	for _, name := range []string{".debug_abbrev", ".debug_line", ".debug_ranges", ".debug_str"} {
		m.Custom(name, []byte{0})
	}
	dir := t.TempDir()
	if err := compileInDir(t, m.Bytes(), dir); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(entries(t, dir)[0]); err != nil || st.Size() < 128<<10 {
		t.Fatalf("there are no lines: %v, %v", st, err)
	}
	assertLoads(t, dir, m.Bytes())
}

// The engine reads eight bytes at a time, and takes fewer for the end.
func TestCompiledCodeIsReadInWholeNumbers(t *testing.T) {
	const head = "WAZEVO\x01v\x01\x00\x00\x00offset..\x04\x00\x00\x00\x00\x00\x00\x00"
	tail := strings.Repeat("12345678", 1<<15)
	r, err := newCodeReader(memfd(t, []byte("\x07\x00\x00\x00___"+head+"code"+"sum!1"+tail)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append([]string{head[:12], head[12:20], head[20:], "code", "sum!", "1"}, slices.Repeat([]string{tail[:8]}, len(tail)/8)...) {
		p := make([]byte, len(want))
		if n, err := r.Read(p); err != nil || string(p[:n]) != want {
			t.Fatalf("read %q, %v; want %q", p[:n], err, want)
		}
	}
	if n, err := r.Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
}

// FuzzCodeReader reads files as the engine does: without regard to what is in them.
func FuzzCodeReader(f *testing.F) {
	head := "WAZEVO\x01v\x01\x00\x00\x00offset.."
	f.Add([]byte("\x04\x00\x00\x00"+head+"\x04\x00\x00\x00\x00\x00\x00\x00codetail"), 4)
	f.Add([]byte("\x06\x00\x00\x00__"+head+"\xff\xff\xff\xff\xff\x00\x00\x00code"), 3)
	f.Add([]byte("\xff\xff\xff\xff"+head), 100)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		r, err := newCodeReader(memfd(t, b))
		if err != nil {
			return
		}
		padding := binary.LittleEndian.Uint32(b)
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
