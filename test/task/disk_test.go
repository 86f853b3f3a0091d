package task

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// disk is a small file system of its own.
type disk struct {
	t    testing.TB
	path string
}

// page is how much room a file of a few bytes takes on it.
const page = 4 << 10

// mountDisk mounts a disk of so many pages. Mounted after the start of a shim, it
// is gone before the end of that shim is looked at.
func mountDisk(t testing.TB, path string, pages int) *disk {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%d", pages*page)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Errorf("unmount %s: %v", path, err)
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	})
	return &disk{t, path}
}

// fill leaves so many pages of room.
func (d *disk) fill(free int) {
	d.t.Helper()
	f, err := os.Create(d.filler())
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for n := int64(0); ; n += page {
		if _, err := f.Write(make([]byte, page)); err != nil {
			if err := f.Truncate(max(0, n-int64(free)*page)); err != nil {
				d.t.Fatal(err)
			}
			return
		}
	}
}

func (d *disk) filler() string { return filepath.Join(d.path, "filler") }

// empty makes room again.
func (d *disk) empty() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) readOnly(is bool) {
	d.t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if is {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", d.path, "", flags, ""); err != nil {
		d.t.Fatal(err)
	}
}

// life takes a container that exits with 7 from Create to Delete and returns the
// error of its Create.
func (s *shim) life(id string) error {
	s.d.t.Helper()
	if _, err := s.create(id); err != nil {
		return errgrpc.ToNative(err)
	}
	s.mustStart(id)
	if status := s.wait(id); status != 7 {
		s.d.t.Errorf("%s: exit status %d, want 7", id, status)
	}
	if _, err := s.delete(id); err != nil {
		s.d.t.Errorf("delete %s: %v", id, err)
	}
	return nil
}

func assertSentence(t *testing.T, err error, says string) {
	t.Helper()
	if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is no sentence with %q", err, says)
	}
}

func TestAFullDiskOfTheBundle(t *testing.T) {
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	created := 0
	for free := range 6 {
		id := fmt.Sprint("c", free)
		disk := mountDisk(t, filepath.Join(d.dir, id), 64)
		bundle := d.bundle(id, wasmtest.Exit(7), nil)
		disk.fill(free)
		before := names(t, bundle)
		err := s.life(id)
		if err != nil {
			assertSentence(t, err, "no space left on device")
			if after := names(t, bundle); !slices.Equal(before, after) {
				t.Errorf("%d pages: left in the bundle: %v, before %v", free, after, before)
			}
		} else {
			created++
		}
		disk.empty()
		if err := s.life(id); err != nil {
			t.Errorf("with room again: %v", err)
		}
	}
	if created == 0 || created == 6 {
		t.Errorf("%d of 6 containers were created; want some", created)
	}
}

// What was created before the disk was full goes on and ends as always.
func TestADiskThatBecomesFullOrReadOnlyUnderAContainer(t *testing.T) {
	for name, spoil := range map[string]func(*disk){
		"full":      func(d *disk) { d.fill(0) },
		"read-only": func(d *disk) { d.readOnly(true) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			d := newDaemon(t)
			d.bundle("keep", spin(), nil)
			s := d.start("keep")
			disk := mountDisk(t, filepath.Join(d.dir, "a"), 64)
			bundle := d.bundle("a", spin(), nil)
			before := names(t, bundle)
			s.mustCreate("a")
			spoil(disk)
			s.mustStart("a")
			exec := func(id string, args ...string) {
				t.Helper()
				if _, err := s.Exec(ctx, s.execRequest(id, args...)); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: id}); err != nil {
					t.Errorf("start %v: %v", args, errgrpc.ToNative(err))
				}
			}
			exec("module", "/app.wasm")
			exec("command", "ls", "/")
			// Its exit comes before the other's, which is the container's.
			if _, err := s.Wait(ctx, &taskapi.WaitRequest{ID: "a", ExecID: "command"}); err != nil {
				t.Error(err)
			}
			if _, err := s.create("a"); err == nil {
				t.Error("a second container of the same id was created")
			}
			if err := s.kill("a", unix.SIGTERM); err != nil {
				t.Error(err)
			}
			if status := s.wait("a"); status != 143 {
				t.Errorf("exit status %d, want 143", status)
			}
			if resp, err := s.delete("a"); err != nil || resp.ExitStatus != 143 {
				t.Errorf("delete: %v, %v", resp, err)
			}
			d.assertEvents("a", "create", "start", "added module", "started module", "added command", "started command",
				"exit command 0", "exit module 137", "exit 143", "delete 143")
			if name == "read-only" {
				_, err := s.create("a")
				if err == nil {
					t.Fatal("created on a read-only disk")
				}
				assertSentence(t, errgrpc.ToNative(err), "read-only file system")
				disk.readOnly(false)
			} else {
				disk.empty()
			}
			for _, file := range names(t, bundle) {
				if strings.HasSuffix(file, ".tmp") && !slices.Contains(before, file) {
					t.Errorf("left in the bundle: %s", file)
				}
			}
			s.mustCreate("a")
			if _, err := s.delete("a"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without room for compiled code, the runner compiles for itself.
func TestAFullDiskOfTheCodeCache(t *testing.T) {
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	d.bundle("a", wasmtest.Exit(7), nil)
	root := filepath.Join(d.dir, "cache")
	cache := mountDisk(t, root, 64)
	for free := range 6 {
		cache.fill(free)
		if err := s.life("a"); err != nil {
			t.Errorf("%d pages: %v", free, err)
		}
		cache.empty()
		for _, name := range inCache(t, root) {
			if strings.HasPrefix(name, ".") {
				t.Errorf("%d pages: left in the cache: %s", free, name)
			}
		}
		if len(inCache(t, root)) > 0 {
			break // there was room
		}
	}
	if err := s.life("a"); err != nil {
		t.Error(err)
	}
	if len(inCache(t, root)) != 1 {
		t.Errorf("with room again the cache holds %v", inCache(t, root))
	}
	// An entry that is there serves from a read-only cache, and a module that is
	// not is compiled by its runner.
	cache.readOnly(true)
	d.bundle("b", append(wasmtest.Exit(7), 0, 2, 1, 'x'), nil) // another module: with a custom section
	for _, id := range []string{"a", "b"} {
		if err := s.life(id); err != nil {
			t.Errorf("%s with a read-only cache: %v", id, err)
		}
	}
	cache.readOnly(false)
}

// A daemon on a full disk deletes the bundle of a server that it has just
// started, and calls nobody.
func TestAServerWhoseBundleIsDeletedBeforeItServesEnds(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	bundle := d.bundle("a", wasmtest.Exit(0), nil)
	s := d.start("a")
	pidfd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if err := os.RemoveAll(bundle); err != nil {
		t.Fatal(err)
	}
	waitEnd(t, pidfd)
	if _, err := os.Stat(strings.TrimPrefix(s.address, "unix://")); !os.IsNotExist(err) {
		t.Errorf("its socket is left: %v", err)
	}
	d.assertNothingLeft()
}

// inCache lists a cache but for the file that its users lock.
func inCache(t *testing.T, root string) []string {
	t.Helper()
	return slices.DeleteFunc(names(t, root), func(name string) bool { return name == ".locks" })
}
