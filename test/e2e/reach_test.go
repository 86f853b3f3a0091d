package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// file names a file whatever it is called.
type file struct{ dev, ino uint64 }

// cacheFiles are the cache and all that is in it.
func (h *host) cacheFiles(t *testing.T) map[file]string {
	t.Helper()
	files := map[file]string{}
	err := filepath.WalkDir(h.CodeCache(), func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		files[file{st.Dev, st.Ino}] = path
		return err
	})
	if err != nil || len(files) < 5 {
		t.Fatalf("the cache has %d files: %v", len(files), err)
	}
	return files
}

// assertHoldsNothingOf fails the test when a process has one of the files open or
// mounted, or has not mapped the code that it runs and nothing else.
func assertHoldsNothingOf(t *testing.T, pid int, files map[file]string, dir string) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d", pid)
	fds, err := filepath.Glob(proc + "/fd/*")
	if err != nil || len(fds) < 3 {
		t.Fatalf("descriptors of process %d: %v, %v", pid, fds, err)
	}
	for _, fd := range append(fds, proc+"/cwd", proc+"/root", proc+"/exe") {
		var st unix.Stat_t
		if err := unix.Stat(fd, &st); err != nil {
			continue // closed meanwhile
		}
		if path, ok := files[file{st.Dev, st.Ino}]; ok {
			t.Errorf("%s is %s", fd, path)
		}
	}
	mounts, err := os.ReadFile(filepath.Join(proc, "mountinfo"))
	if err != nil || strings.Contains(string(mounts), dir) || strings.Contains(string(mounts), "wazero-") {
		t.Errorf("process %d: %v, its mounts:\n%s", pid, err, mounts)
	}
	maps, err := os.ReadFile(filepath.Join(proc, "maps"))
	if err != nil {
		t.Error(err)
	}
	var mapped []string
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, dir) || strings.Contains(line, "wazero-") {
			mapped = append(mapped, line)
		}
	}
	// The path is one within the mount, which is attached nowhere.
	if len(mapped) != 1 || !strings.Contains(mapped[0], " r-xp ") || strings.Contains(mapped[0], dir) {
		t.Errorf("process %d does not map the code that it runs alone, to execute it:\n%s", pid, maps)
	}
}

// Whoever is in a Pod neither sees the cache nor has anything of it open: a guest,
// what is executed in its container, and a native container beside it which is
// root, may look into other processes, and shares their pid namespace.
func TestCompiledCodeIsOutOfReachOfContainers(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for name, flags := range map[string][]string{"plain": nil, "in a user namespace": mapping()} {
			t.Run(name, func(t *testing.T) {
				ctx := t.Context()
				id := h.NewID("guest")
				group := []string{"--runtime", wasm, "--annotation", "io.containerd.runc.v2.group=" + id}
				args := append(append([]string{"run", "-d", "--null-io"}, group...), flags...)
				want(t, h.Ctr(ctx, append(args, h.image(t, "probe-c"), id, "/probe-c.wasm", "sleep", "600")...), 0, "", "")
				defer func() {
					h.Ctr(t.Context(), "tasks", "rm", "-f", id)
					want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
				}()
				pid := h.taskPid(t, id)
				files := h.cacheFiles(t)
				assertHoldsNothingOf(t, pid, files, h.CodeCache())

				exec := func(name string, args ...string) []string {
					return append([]string{"tasks", "exec", "--fifo-dir", filepath.Join(h.Dir, "fifo"), "--exec-id", name, id}, args...)
				}
				for n, path := range []string{h.CodeCache(), "/proc/self/fd/8", "/proc/1/fd/8", "/proc/self/root" + h.CodeCache()} {
					if got := h.Ctr(ctx, exec(fmt.Sprint("list", n), "/probe-c.wasm", "list", path)...); got.Code == 0 {
						t.Errorf("an executed guest lists %s: %+v", path, got)
					}
					if got := h.Ctr(ctx, exec(fmt.Sprint("ls", n), "ls", path+"/")...); got.Code == 0 {
						t.Errorf("a built-in command lists %s: %+v", path, got)
					}
				}

				// Everything that can be reached from the processes that it sees.
				const look = `for p in /proc/[0-9]*; do ls -a $p/fd/*/ $p/fd/*/*/ $p/root%[1]s %[1]s; cat $p/mountinfo $p/map_files/*; done 2>/dev/null; cat /proc/1/comm`
				args = append(append([]string{"run", "--rm", "--cap-add", "CAP_SYS_PTRACE", "--cap-add", "CAP_DAC_READ_SEARCH",
					"--with-ns", fmt.Sprintf("pid:/proc/%d/ns/pid", pid)}, group...),
					h.image(t, "native"), h.NewID("native"), "/bin/busybox", "sh", "-c", fmt.Sprintf(look, h.CodeCache()))
				got := h.Ctr(ctx, args...)
				if got.Code != 0 || !strings.Contains(got.Stdout, "wasm-runner") {
					t.Errorf("the native container does not see the runner: exit code %d, %s", got.Code, got.Stderr)
				}
				for _, secret := range append([]string{"wazero-", h.CodeCache(), "meta.json", "WAZEVO"}, entryNames(files)...) {
					if at := strings.Index(got.Stdout, secret); at >= 0 {
						t.Errorf("the native container finds %s: …%s…", secret, got.Stdout[max(0, at-200):min(len(got.Stdout), at+200)])
					}
				}
			})
		}
	})
}

func entryNames(files map[file]string) (names []string) {
	for _, path := range files {
		if name := filepath.Base(path); len(name) == 64 {
			names = append(names, name)
		}
	}
	return names
}
