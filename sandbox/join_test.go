package sandbox

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// tasksFiles stand for those of cgroups.
func tasksFiles(t *testing.T) []*os.File {
	t.Helper()
	var files []*os.File
	for _, name := range []string{"pids", "cpu"} {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

func TestTheInitJoinsEachCgroupOnce(t *testing.T) {
	for name, test := range map[string]struct {
		rootfs string
		edit   func(*specs.Spec)
	}{
		"one process":    {newRootfs(t), func(*specs.Spec) {}},
		"one that moves": {remapped(t), inUserNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sandboxTest{rootfs: test.rootfs, holes: true}
			c, err := FromSpec(with(test.edit), s.rootfs, []string{"wasm-runner", "probe", "{}"})
			if err != nil {
				t.Fatal(err)
			}
			tasks := tasksFiles(t)
			c.JoinBy(tasks)
			v, err := s.runConfig(t, c)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range tasks {
				if b, err := os.ReadFile(f.Name()); string(b) != "0" {
					t.Errorf("%s has %q, %v", f.Name(), b, err)
				}
			}
			if got := slices.Sorted(maps.Keys(v.FDs)); !slices.Equal(got, []string{"0", "1", "2", "4"}) {
				t.Errorf("the program has the descriptors %v", v.FDs)
			}
		})
	}
}

func TestAnInitThatCannotJoinItsCgroupSaysSo(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	s := &sandboxTest{rootfs: newRootfs(t), holes: true}
	c, err := FromSpec(ctrSpec(), s.rootfs, []string{"wasm-runner", "probe", "{}"})
	if err != nil {
		t.Fatal(err)
	}
	c.JoinBy(append(tasksFiles(t), full))
	_, err = s.runConfig(t, c)
	if want := "join the container's cgroup: write to /dev/full: no space left on device"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
