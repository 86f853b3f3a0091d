package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
)

// The disk of containerd's state, where the bundles are, has less and less room:
// a container runs or fails with a sentence, and nothing is left of it.
func TestFaultTheDiskOfTheStateIsFull(t *testing.T) {
	onFaultDaemon(t, func(t *testing.T, h *host) {
		const page = 4 << 10
		state := filepath.Join(h.Dir, "state", "io.containerd.runtime.v2.task")
		if err := unix.Mount("tmpfs", state, "tmpfs", 0, "mode=0711,size=1m"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(state, 0); err != nil {
				t.Error(err)
			}
		}()
		before := h.census(t)
		filler := filepath.Join(state, "filler")
		ran := 0
		const most, step = 16, 4
		for free := 0; free < most; free += step {
			fill(t, filler, free*page)
			r := h.probe(t, "exit", "3")
			switch {
			case r.Code == 3:
				ran++
			case !strings.Contains(r.Stderr, "no space left on device") || strings.Count(r.Stderr, "\n") > 1:
				t.Errorf("with %d pages: %+v", free, r)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			for _, line := range h.leftSince(t, sorted(before, ownSockets(h.census(t)))) {
				t.Errorf("with %d pages, left: %s", free, line)
			}
			h.assertUsable(t)
		}
		if ran == 0 || ran == most/step {
			t.Errorf("%d of %d containers ran; want some", ran, most/step)
		}
	})
}

// ownSockets are those of shims in a census. When containerd cannot write what it
// wants to remember of a shim that it has started, it deletes the bundle and does
// not ask to clean up. A shim that has not begun by then ends and leaves its
// socket, until the id is used again.
func ownSockets(c census.Census) (sockets census.Census) {
	for _, line := range c {
		if strings.HasPrefix(line, "file /run/containerd/s/") {
			sockets = append(sockets, line)
		}
	}
	return sockets
}

// sorted is both, as a census is.
func sorted(a, b census.Census) census.Census {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return all
}

// fill writes a file that leaves so much room on its disk of at most 1 MiB.
func fill(t *testing.T, path string, free int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 0; size <= 1<<20; {
		n, err := f.Write(make([]byte, 4<<10))
		size += n
		if err != nil {
			if err := f.Truncate(int64(max(0, size-free))); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the small disk is not mounted")
}
