package codecache

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestEntriesAreDescribedVerifiedAndRemoved(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	for _, m := range []string{"a", "b", "c"} {
		store(t, c, testKey(m), []byte("of "+m))
	}
	age(t, c, "b", 2*time.Hour)
	age(t, c, "c", time.Hour)
	held, err := c.Lookup(testKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	file := filepath.Join(c.root, testKey("c").String(), "code", engineDir, codeFile)
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte("of d"), 0o600), os.Chmod(file, 0o444)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.root, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	list, err := c.List()
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for i, m := range []string{"b", "c", "a"} {
		if list[i].Key != testKey(m) || list[i].Name != testKey(m).String() || list[i].Damage != "" || list[i].InUse != (m == "a") || list[i].Size < 4 {
			t.Errorf("%s: %+v", m, list[i])
		}
	}
	verified, err := c.Verify()
	if err != nil || len(verified) != 3 {
		t.Fatalf("%v, %v", verified, err)
	}
	for _, i := range verified {
		if (i.Damage != "") != (i.Key == testKey("c")) {
			t.Errorf("%+v", i)
		}
	}
	if strays, err := c.Strays(); err != nil || !slices.Equal(strays, []string{"notes"}) {
		t.Errorf("strays %v, %v", strays, err)
	}
	for _, i := range verified {
		removed, err := c.Remove(i)
		if err != nil || removed == i.InUse {
			t.Errorf("remove %s: %v, %v", i.Key.Module, removed, err)
		}
	}
	if got := kept(t, c, "a", "b", "c"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("kept %v, want a", got)
	}
}

func TestAnEntryThatWasUsedSinceIsNotRemoved(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	store(t, c, testKey("a"), []byte("of a"))
	age(t, c, "a", time.Hour)
	list, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Lookup(testKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	if removed, err := c.Remove(list[0]); err != nil || removed {
		t.Errorf("%v, %v", removed, err)
	}
}

func TestRemoveTakesEntriesOnly(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	for _, name := range []string{"..", "", ".locks", strings.Repeat("a", 64) + "/.."} {
		if _, err := c.Remove(Info{Name: name}); err == nil {
			t.Errorf("%q is removed", name)
		}
	}
}

// List tells what is wrong with an entry as Lookup would, without touching it.
func TestForeignEntriesAreListedAsDamaged(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	names := map[string]func(dir string) error{
		strings.Repeat("a", 64): func(dir string) error { return os.Mkdir(dir, 0o755) },
		strings.Repeat("b", 64): func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		strings.Repeat("c", 64): func(dir string) error { return os.Symlink("/etc", dir) },
		strings.Repeat("d", 64): func(dir string) error { return os.Rename(store(t, c, testKey("a"), []byte("x")), dir) },
	}
	for name, plant := range names {
		if err := plant(filepath.Join(c.root, name)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.List()
	if err != nil || len(list) != len(names) {
		t.Fatalf("%v, %v", list, err)
	}
	for _, i := range list {
		if i.Damage == "" || i.Key != (Key{}) {
			t.Errorf("%+v", i)
		}
		if removed, err := c.Remove(i); err != nil || !removed {
			t.Errorf("remove %s: %v, %v", i.Name, removed, err)
		}
	}
	if left := entries(t, c); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestExistingRootsAreLeftAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		mode  os.FileMode
		class control.Class
	}{
		"none":     {0, control.NotFound},
		"readable": {0o755, control.Unavailable},
		"writable": {0o777, control.Unavailable},
	} {
		root := filepath.Join(dir, name)
		if test.mode != 0 {
			if err := errors.Join(os.Mkdir(root, 0o700), os.Chmod(root, test.mode)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(root, Existing())
		if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != test.class {
			t.Errorf("%s: %v", name, err)
		}
		if st, err := os.Stat(root); test.mode != 0 && (err != nil || st.Mode().Perm() != test.mode) {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		} else if test.mode == 0 && err == nil {
			t.Errorf("%s was made", name)
		}
	}
}
