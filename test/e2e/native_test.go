package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

func TestNativeContainerRunsInRunc(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		got := h.run(t, ctrRun{image: "native", stdin: "in\n",
			args: []string{"/bin/busybox", "sh", "-c", "read x; echo $x; echo err >&2; exit 7"}})
		want(t, got, 7, "in\n", "err\n")
	})
}

// A Pod as CRI makes it, with ctr's means: one shim, containers that share the
// network, IPC and UTS namespaces of the first.
func TestWasmAndNativeContainerShareAGroup(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		group := h.NewID("group")
		grouped := []string{"--annotation", "io.containerd.runc.v2.group=" + group}
		r := h.Ctr(t.Context(), append(append([]string{"run", "-d", "--null-io", "--runtime", wasm}, grouped...),
			h.image(t, "native"), group, "/bin/busybox", "sleep", "600")...)
		want(t, r, 0, "", "")
		pid := h.taskPid(t, group)
		shared := append(grouped,
			"--with-ns", fmt.Sprintf("network:/proc/%d/ns/net", pid),
			"--with-ns", fmt.Sprintf("ipc:/proc/%d/ns/ipc", pid),
			"--with-ns", fmt.Sprintf("uts:/proc/%d/ns/uts", pid))
		guest := h.NewID("guest")
		r = h.Ctr(t.Context(), append(append([]string{"run", "-d", "--null-io", "--runtime", wasm}, shared...),
			h.image(t, "probe-c"), guest, "/probe-c.wasm", "sleep", "600")...)
		want(t, r, 0, "", "")

		if shims := h.shims(t); len(shims) != 1 {
			t.Errorf("the group has shims %v, want one", shims)
		}
		guestPid := h.taskPid(t, guest)
		for _, ns := range []string{"net", "ipc", "uts"} {
			theirs, err1 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
			ours, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", guestPid, ns))
			if err1 != nil || err2 != nil || theirs != ours {
				t.Errorf("%s namespaces: %s %v and %s %v, want the same", ns, theirs, err1, ours, err2)
			}
		}
		// A second Wasm and a second native container come and go.
		for _, r := range []ctrRun{
			{image: "probe-c", flags: shared, args: []string{"/probe-c.wasm", "hello"}},
			{image: "native", flags: shared, args: []string{"/bin/busybox", "echo", "hello from probe-c"}},
		} {
			want(t, h.run(t, r), 0, "hello from probe-c\n", "")
		}
		for _, id := range []string{guest, group} {
			want(t, h.Ctr(t.Context(), "tasks", "kill", "-s", "SIGKILL", id), 0, "", "")
			within(t, id+" stopped", func() bool { return h.taskStatus(t, id) == "STOPPED" })
			if r := h.Ctr(t.Context(), "tasks", "rm", id); r.Code != 137 && r.Code != 0 {
				t.Errorf("tasks rm %s: %+v", id, r)
			}
			want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
		}
	})
}

func TestWasmMarkerNeverRunsNativeCode(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, marker := range []string{"module.wasm.image/variant=compat", "run.oci.handler=wasm"} {
			got := h.run(t, ctrRun{image: "native", flags: []string{"--annotation", marker},
				args: []string{"/bin/busybox", "echo", "native code ran"}})
			if got.Code == 0 || strings.Contains(got.Stdout, "native code ran") {
				t.Errorf("%s: %+v", marker, got)
			}
		}
		const ref = "localhost/not-wasm:1"
		img := nativeImage(t, ref)
		img.Files["/app.wasm"] = img.Files["/bin/busybox"]
		h.add(t, img)
		got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, "--annotation", "module.wasm.image/variant=compat",
			ref, h.NewID("not-wasm"), "/app.wasm", "echo", "native code ran")
		if got.Code == 0 || strings.Contains(got.Stdout, "native code ran") {
			t.Errorf("an ELF file named app.wasm: %+v", got)
		}
	})
}

// wasi/wasm is the platform that some builders write. containerd unpacks such an
// image when it is told to import all platforms.
func TestWasiPlatformImageRuns(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		const ref = "localhost/wasi-platform:1"
		h.add(t, scratchimage.Image{
			Ref: ref, OS: "wasi", Architecture: "wasm",
			Files:      map[string][]byte{"/app.wasm": guestBinary(t, "hello-c")},
			Entrypoint: []string{"/app.wasm"},
		}, "--all-platforms", "--no-unpack")
		got := h.Ctr(t.Context(), "run", "--rm", "--platform", "wasi/wasm", "--runtime", wasm, ref, h.NewID("wasi"))
		want(t, got, 0, "Hello from C in WebAssembly!\n", "")
	})
}

// taskPid returns the pid of a task from `ctr tasks ls`.
func (h *host) taskPid(t *testing.T, id string) (pid int) {
	t.Helper()
	var status string
	h.scanTask(t, id, &pid, &status)
	return pid
}

func (h *host) taskStatus(t *testing.T, id string) (status string) {
	t.Helper()
	var pid int
	h.scanTask(t, id, &pid, &status)
	return status
}

func (h *host) scanTask(t *testing.T, id string, into ...any) {
	t.Helper()
	r := h.Ctr(t.Context(), "tasks", "ls")
	for line := range strings.Lines(r.Stdout) {
		if rest, ok := strings.CutPrefix(line, id+" "); ok {
			if _, err := fmt.Sscan(rest, into...); err != nil {
				t.Fatalf("tasks ls: %q: %v", line, err)
			}
			return
		}
	}
	t.Fatalf("no task %s: %+v", id, r)
}
