package codecache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountIsReadOnlyAndHasNoWayOut(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	k := testKey("app")
	dir := store(t, c, k, []byte("code"))
	e, err := c.Lookup(k)
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.OpenMount()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	base := fmt.Sprintf("/proc/self/fd/%d", m.Fd())
	file := base + "/" + engineDir + "/" + codeFile
	if b, err := os.ReadFile(file); err != nil || string(b) != "code" {
		t.Errorf("read: %q, %v", b, err)
	}
	if _, err := os.OpenFile(file, os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing: %v", err)
	}
	if err := os.WriteFile(base+"/new", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("create: %v", err)
	}
	if err := os.Chmod(file, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("chmod: %v", err)
	}
	if err := os.Remove(file); !errors.Is(err, unix.EROFS) {
		t.Errorf("remove: %v", err)
	}
	here, err := os.Stat(base + "/.")
	if err != nil {
		t.Fatal(err)
	}
	if up, err := os.Stat(base + "/../../.."); err != nil || !os.SameFile(here, up) {
		t.Errorf("..: %v, %v", up, err)
	}
	if _, err := os.Stat(base + "/../meta.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("../meta.json: %v", err)
	}
	var st unix.Statfs_t
	const flags = unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV
	if err := unix.Statfs(base, &st); err != nil || st.Flags&flags != flags {
		t.Errorf("flags %x, %v", st.Flags, err)
	}
	if err := exec.Command(file).Run(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("execute: %v", err)
	}
	// As another user in another root, through an inherited descriptor.
	if os.Geteuid() == 0 {
		cmd := exec.Command("/bin/sh", "-c", "cat /proc/self/fd/3/"+engineDir+"/"+codeFile+"; ! ls "+dir)
		cmd.ExtraFiles = []*os.File{m}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
		if out, err := cmd.Output(); err != nil || string(out) != "code" {
			t.Errorf("as another user: %q, %v", out, err)
		}
	}
}
