package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

func TestImagesRootIsTheGuestsRoot(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		const ref = "localhost/files:1"
		h.add(t, scratchimage.Image{
			Ref: ref,
			Files: map[string][]byte{
				"/app.wasm": guestBinary(t, "probe-c"), "/etc/note": []byte("from the image\n"),
				"/srv/a": nil, "/srv/b": nil,
			},
			Entrypoint: []string{"/app.wasm"},
		})
		run := func(args ...string) []string {
			return append([]string{"run", "--rm", "--runtime", wasm, ref, h.NewID("files"), "/app.wasm"}, args...)
		}
		want(t, h.Ctr(t.Context(), run("read", "/etc/note")...), 0, "from the image\n", "")
		want(t, h.Ctr(t.Context(), run("stat", "/etc/note")...), 0, "file 15\n", "")
		want(t, h.Ctr(t.Context(), run("stat", "/srv")...), 0, "directory 4096\n", "")
		got := h.Ctr(t.Context(), run("list", "/srv")...)
		if !strings.Contains(got.Stdout, "a\n") || !strings.Contains(got.Stdout, "b\n") || got.Code != 0 {
			t.Errorf("list /srv: %+v", got)
		}
		want(t, h.Ctr(t.Context(), run("put", "/srv/new", "text")...), 0, "", "")
		// Each container has a snapshot of its own.
		got = h.Ctr(t.Context(), run("read", "/srv/new")...)
		want(t, got, 1, "", "/srv/new: No such file or directory\n")
	})
}

func TestReadOnlyRootRefusesWrites(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		got := h.run(t, ctrRun{image: "probe-c", flags: []string{"--read-only"},
			args: []string{"/probe-c.wasm", "put", "/tmp/x", "text"}})
		want(t, got, 1, "", "/tmp/x: Read-only file system\n")
		got = h.run(t, ctrRun{image: "probe-c", flags: []string{"--read-only"}, args: []string{"/probe-c.wasm", "hello"}})
		want(t, got, 0, "hello from probe-c\n", "")
	})
}

func TestMountsOfTheSpecAreThere(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		dir := filepath.Join(h.Dir, "work")
		file := filepath.Join(dir, "shared")
		if err := os.WriteFile(file, []byte("from the host\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file)
		flags := []string{
			"--mount", "type=bind,src=" + dir + ",dst=/rw,options=rbind:rw",
			"--mount", "type=bind,src=" + dir + ",dst=/ro,options=rbind:ro",
		}
		run := func(args ...string) ctrRun {
			return ctrRun{image: "probe-c", flags: flags, args: append([]string{"/probe-c.wasm"}, args...)}
		}
		want(t, h.run(t, run("read", "/ro/shared")), 0, "from the host\n", "")
		want(t, h.run(t, run("put", "/ro/shared", "no")), 1, "", "/ro/shared: Read-only file system\n")
		want(t, h.run(t, run("put", "/rw/shared", "from the guest\n")), 0, "", "")
		if b, err := os.ReadFile(file); err != nil || string(b) != "from the guest\n" {
			t.Errorf("on the host: %q, %v", b, err)
		}
		want(t, h.run(t, run("remove", "/rw/shared")), 0, "", "")
	})
}

func TestDefaultMountsOfCtrAreThere(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		want(t, h.probe(t, "put", "/dev/shm/x", "text"), 0, "", "")
		got := h.probe(t, "list", "/dev")
		for _, device := range []string{"null", "zero", "full", "random", "urandom", "shm"} {
			if !strings.Contains("\n"+got.Stdout, "\n"+device+"\n") {
				t.Errorf("/dev lacks %s: %+v", device, got)
			}
		}
		got = h.probe(t, "read", "/proc/self/status")
		if got.Code != 0 || !strings.Contains(got.Stdout, "NoNewPrivs:\t1") {
			t.Errorf("the guest's own status: %+v", got)
		}
	})
}
