package pause

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// What the listings say is what a processor reads, and every jump and address
// meets what it is for.
func TestListingsAreTheCode(t *testing.T) {
	at := 0
	for _, i := range amd64() {
		if i.text == "" {
			break
		}
		d, err := x86asm.Decode([]byte(i.code), 64)
		if err != nil {
			t.Fatalf("%q: %v", i.text, err)
		}
		if got := x86asm.IntelSyntax(d, uint64(at), nil); got != i.text || d.Len != len(i.code) {
			t.Errorf("%#x: %d bytes are %q, the listing has %d bytes and %q", at, d.Len, got, len(i.code), i.text)
		}
		at += len(i.code)
	}
	for _, i := range arm64() {
		if i.text == "" {
			break
		}
		d, err := arm64asm.Decode([]byte(i.code))
		if err != nil {
			t.Fatalf("%q: %v", i.text, err)
		}
		if got := arm64asm.GNUSyntax(d); got != i.text || len(i.code) != 4 {
			t.Errorf("the code is %q, the listing says %q", got, i.text)
		}
	}
}

// operands returns the offsets to which the instruction at that offset refers.
func operands(t *testing.T, arch string, i instruction, at int) (offsets []int) {
	t.Helper()
	if arch == "arm64" {
		d, err := arm64asm.Decode([]byte(i.code))
		if err != nil {
			t.Fatal(err)
		}
		for _, arg := range d.Args {
			if rel, ok := arg.(arm64asm.PCRel); ok {
				offsets = append(offsets, at+int(rel))
			}
		}
		return offsets
	}
	d, err := x86asm.Decode([]byte(i.code), 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range d.Args {
		switch arg := arg.(type) {
		case x86asm.Rel:
			offsets = append(offsets, at+d.Len+int(arg))
		case x86asm.Mem:
			if arg.Base == x86asm.RIP {
				offsets = append(offsets, at+d.Len+int(arg.Disp))
			}
		}
	}
	return offsets
}

func TestJumpsAndAddressesMeetTheirTargets(t *testing.T) {
	for arch, code := range map[string][]instruction{"amd64": amd64(), "arm64": arm64()} {
		is, at := map[int]string{}, 0
		var refers []int
		for _, i := range code {
			is[at] = i.text
			if i.text == "" {
				is[at] = strings.TrimRight(i.code, "\x00")
			} else {
				refers = append(refers, operands(t, arch, i, at)...)
			}
			at += len(i.code)
		}
		var got []string
		for _, to := range refers {
			got = append(got, is[to])
		}
		// In the order of the program: the name, the report, to the failure, back
		// to wait4 from both loops, back to the wait, over the failure.
		want := map[string][]string{
			"amd64": {"pause", ready, "mov edi, 0x1", "mov eax, 0x3d", "mov eax, 0x3d", "mov eax, 0x80", "mov eax, 0xe7"},
			"arm64": {"pause", ready, "orr x0, xzr, #0x1", "mov x8, #0x104", "mov x8, #0x104", "mov x8, #0x89", "mov x8, #0x5e"},
		}[arch]
		if !slices.Equal(got, want) {
			t.Errorf("%s refers to %q, want %q", arch, got, want)
		}
	}
}

func TestItIsAnELFFileThatNeedsTwoPages(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		b, err := program(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 4096 || len(f.Progs) != 2 || f.Progs[0].Flags&elf.PF_W != 0 || f.Progs[1].Flags&elf.PF_X != 0 {
			t.Errorf("%s: %d bytes, segments %+v and %+v", arch, len(b), f.Progs[0].ProgHeader, f.Progs[1].ProgHeader)
		}
	}
	if _, err := program("riscv64"); err == nil {
		t.Error("a program for another architecture")
	}
}

// held is a running pause program, and the shim's end of its socket.
type held struct {
	*exec.Cmd
	socket *os.File
}

// hold starts the program as the first process of a pid namespace.
func hold(t *testing.T) held {
	t.Helper()
	program, err := File("")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "shim"), os.NewFile(uintptr(fds[1]), "pause")
	defer theirs.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{program, theirs} // 3 and control.SocketFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); ours.Close() })
	if err := control.Receive(ours); err != nil {
		t.Fatalf("its report: %v", err)
	}
	return held{cmd, ours}
}

func (h held) status(t *testing.T) int {
	t.Helper()
	_ = h.Wait()
	return h.ProcessState.ExitCode()
}

func TestSignalsThatAskToEndEndItAsThePauseImage(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM} {
		h := hold(t)
		if err := control.SendStart(h.socket); err != nil {
			t.Fatal(err)
		}
		for _, ignored := range []syscall.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGCHLD} {
			if err := h.Process.Signal(ignored); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if got := h.status(t); got != 0 {
			t.Errorf("%v: status %d, want 0", sig, got)
		}
	}
}

func TestItEndsWithTheShimBeforeItsStart(t *testing.T) {
	h := hold(t)
	h.socket.Close()
	if got := h.status(t); got != 1 {
		t.Errorf("status %d, want 1", got)
	}
}

func TestItIsNamedAndReapsWhatIsLeftToIt(t *testing.T) {
	h := hold(t)
	if err := control.SendStart(h.socket); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", h.Process.Pid)
	if b, err := os.ReadFile(proc + "comm"); err != nil || string(b) != "pause\n" {
		t.Errorf("comm %q, %v", b, err)
	}
	// The child of this shell is left to the first process of the namespace. It
	// ends with its input.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	sh := exec.Command("nsenter", "-t", fmt.Sprint(h.Process.Pid), "-p", "sh", "-c", "exec 3<&0; cat <&3 >/dev/null 2>&1 &")
	sh.Stdin = r
	out, err := sh.CombinedOutput()
	r.Close()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	children := func() string {
		b, err := os.ReadFile(proc + "task/" + fmt.Sprint(h.Process.Pid) + "/children")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if children() == "" {
		t.Fatal("the orphan is not its child")
	}
	w.Close()
	for deadline := time.Now().Add(10 * time.Second); children() != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("children are left: %s", children())
		}
	}
}

func TestNobodyChangesTheProgram(t *testing.T) {
	f, err := File("")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0}, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write: %v, want %v", err, unix.EPERM)
	}
	if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncate: %v, want %v", err, unix.EPERM)
	}
}
