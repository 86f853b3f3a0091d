package landlock

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary the process that is confined, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "confined" {
		confined(os.Args[2], os.Args[3:])
		return
	}
	os.Exit(m.Run())
}

func TestEachVersionDeniesWhatItKnows(t *testing.T) {
	const v1 = 0x1fff
	for abi, want := range map[int]struct {
		a    attributes
		size uintptr
	}{
		2: {attributes{fs: v1 | 0x2000}, 8},
		3: {attributes{fs: v1 | 0x6000}, 8},
		4: {attributes{fs: v1 | 0x6000}, 16},
		5: {attributes{fs: v1 | 0xe000}, 16},
		6: {attributes{fs: v1 | 0xe000, scoped: 3}, 24},
		7: {attributes{fs: v1 | 0xe000, scoped: 3}, 24},
	} {
		if a, size := of(abi); a != want.a || size != want.size {
			t.Errorf("version %d denies %+v in %d bytes, want %+v in %d", abi, a, size, want.a, want.size)
		}
	}
}

func TestWithoutLandlockNothingHappens(t *testing.T) {
	if err := restrict(0, []Rule{{FD: -1}}); err != nil {
		t.Error(err)
	}
}

// confined enters a domain as an older kernel would have it, becomes this binary
// again, and does what is asked with the paths.
func confined(abi string, paths []string) {
	dir := paths[0]
	version, _ := strconv.Atoi(abi)
	if version != 0 {
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		rules := []Rule{
			{open(filepath.Join(dir, "rw")), Read | Change},
			{open(filepath.Join(dir, "ro")), Read},
			{open(filepath.Join(dir, "one")), Read | Change},
			{open("/proc/self/exe"), Read | Execute},
		}
		// With package net, or -race, this binary needs the C library.
		for _, libraries := range []string{"/lib", "/lib64", "/usr/lib"} {
			if fd, err := unix.Open(libraries, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
				rules = append(rules, Rule{fd, Read | Execute})
			}
		}
		err := restrict(version, rules)
		if err == nil {
			err = unix.Exec("/proc/self/exe", []string{"again", "confined", "0", dir, paths[1], paths[2]}, nil)
		}
		panic(err)
	}
	seen := map[string]string{}
	try := func(name string, err error) {
		seen[name] = "ok"
		if e, ok := errors.AsType[syscall.Errno](err); ok {
			seen[name] = unix.ErrnoName(e)
		} else if err != nil {
			seen[name] = err.Error()
		}
	}
	for _, tree := range []string{"rw", "ro", "none"} {
		at := func(name string) string { return filepath.Join(dir, tree, name) }
		_, err := os.ReadFile(at("file"))
		try("read "+tree, err)
		_, err = os.ReadDir(at("."))
		try("list "+tree, err)
		try("write "+tree, os.WriteFile(at("new"), nil, 0o600))
		try("truncate "+tree, os.Truncate(at("file"), 0))
		try("move "+tree, os.Rename(at("file"), at("dir/file")))
		try("link "+tree, os.Symlink("x", at("link")))
		try("remove "+tree, os.Remove(at("old")))
		try("fifo "+tree, unix.Mkfifo(at("fifo"), 0o600))
		try("execute "+tree, exec.Command(at("program")).Run())
	}
	try("write one", os.WriteFile(filepath.Join(dir, "one"), nil, 0o600))
	parent, _ := strconv.Atoi(paths[1])
	try("signal the parent", unix.Kill(parent, 0))
	try("signal itself", unix.Kill(os.Getpid(), 0))
	_, err := net.Dial("unix", paths[2])
	try("connect", err)
	// Threads are of the same domain.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		_, err := os.ReadDir("/")
		done <- err
	}()
	try("list / on a thread", <-done)
	_ = json.NewEncoder(os.Stdout).Encode(seen)
}

func open(path string) int {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	return fd
}

func TestADomainHoldsAcrossExecve(t *testing.T) {
	if ABI() < 2 {
		t.Skip("this kernel has no Landlock")
	}
	shared := map[string]string{
		"read rw": "ok", "list rw": "ok", "write rw": "ok", "truncate rw": "ok", "move rw": "ok", "link rw": "ok", "remove rw": "ok",
		"fifo rw": "EACCES", "execute rw": "EACCES",
		"read ro": "ok", "list ro": "ok", "write ro": "EACCES", "truncate ro": "EACCES", "move ro": "EACCES",
		"link ro": "EACCES", "remove ro": "EACCES", "fifo ro": "EACCES", "execute ro": "EACCES",
		"read none": "EACCES", "list none": "EACCES", "write none": "EACCES", "truncate none": "EACCES", "move none": "EACCES",
		"link none": "EACCES", "remove none": "EACCES", "fifo none": "EACCES", "execute none": "EACCES",
		"write one": "ok", "signal itself": "ok", "list / on a thread": "EACCES",
	}
	for abi := 2; abi <= min(ABI(), 7); abi++ {
		want := map[string]string{"signal the parent": "ok", "connect": "ok"}
		for k, v := range shared {
			want[k] = v
		}
		if abi < 3 {
			want["truncate ro"], want["truncate none"] = "ok", "ok"
		}
		if abi >= 6 {
			want["signal the parent"], want["connect"] = "EPERM", "EPERM"
		}
		got := runConfined(t, abi)
		for what, answer := range want {
			if got[what] != answer {
				t.Errorf("version %d: %s gives %s, want %s", abi, what, got[what], answer)
			}
		}
		if len(got) != len(want) {
			t.Errorf("version %d: %d answers, want %d: %v", abi, len(got), len(want), got)
		}
	}
}

func runConfined(t *testing.T, abi int) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for _, tree := range []string{"rw", "ro", "none"} {
		if err := os.MkdirAll(filepath.Join(dir, tree, "dir"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"file", "old", "program"} {
			if err := os.WriteFile(filepath.Join(dir, tree, name), []byte("#!/bin/true\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "one"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	name := "@landlock-test-" + filepath.Base(dir) + strconv.Itoa(os.Getpid())
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe", "confined", strconv.Itoa(abi), dir, strconv.Itoa(os.Getpid()), name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatal(err)
	}
	return seen
}
