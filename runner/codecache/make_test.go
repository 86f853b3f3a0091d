package codecache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const forEver = time.Hour

// fill is what LookupOrMake is given.
func fill(t testing.TB, code string) func(*Draft) error {
	return func(d *Draft) error {
		compile(t, d.Dir(), []byte(code))
		return nil
	}
}

func TestOfConcurrentFirstUsersOneCompiles(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	var compiled atomic.Int32
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			c, err := Open(root)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			e, err := c.LookupOrMake(t.Context(), testKey("app"), forEver, func(d *Draft) error {
				compiled.Add(1)
				return fill(t, "code")(d)
			})
			if err != nil {
				t.Error(err)
				return
			}
			e.Close()
		})
	}
	users.Wait()
	if n := compiled.Load(); n != 1 {
		t.Errorf("compiled %d times", n)
	}
}

func TestOfConcurrentProcessesOneCompiles(t *testing.T) {
	if root := os.Getenv("CODECACHE_TEST_MAKE"); root != "" {
		e, err := open(t, root).LookupOrMake(t.Context(), testKey("app"), forEver, func(d *Draft) error {
			fmt.Println("compiles")
			return fill(t, "code")(d)
		})
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		return
	}
	root := filepath.Join(t.TempDir(), "cache")
	var outs [6]bytes.Buffer
	var processes sync.WaitGroup
	for i := range outs {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "CODECACHE_TEST_MAKE="+root)
		cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
		processes.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Errorf("%v\n%s", err, &outs[i])
			}
		})
	}
	processes.Wait()
	n := 0
	for i := range outs {
		n += strings.Count(outs[i].String(), "compiles\n")
	}
	if n != 1 {
		t.Errorf("compiled %d times", n)
	}
}

// One who waits is not bound to the fate of the one who compiles.
func TestWaitersGoOnWhenTheCompilerFailsOrTakesTooLong(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	begun, end := make(chan struct{}), make(chan struct{})
	failure := errors.New("out of memory")
	first := make(chan error)
	go func() {
		_, err := open(t, root).LookupOrMake(context.Background(), testKey("app"), forEver, func(*Draft) error {
			close(begun)
			<-end
			return failure
		})
		first <- err
	}()
	<-begun
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("nobody waits any more")
	cancel(cause)
	if _, err := open(t, root).LookupOrMake(ctx, testKey("app"), forEver, fill(t, "cancelled")); err != cause {
		t.Errorf("a cancelled one: %v", err)
	}
	// Another key is nobody's concern.
	if e, err := open(t, root).LookupOrMake(t.Context(), testKey("other"), forEver, fill(t, "other")); err != nil {
		t.Error(err)
	} else {
		e.Close()
	}
	impatient, err := open(t, root).LookupOrMake(t.Context(), testKey("app"), time.Millisecond, fill(t, "impatient"))
	if err != nil {
		t.Fatal(err)
	}
	impatient.Close()
	close(end)
	if err := <-first; err != failure {
		t.Errorf("the first: %v", err)
	}
	// After a failure the next compiles.
	c := open(t, root)
	if err := os.RemoveAll(filepath.Join(root, testKey("app").String())); err != nil {
		t.Fatal(err)
	}
	e, err := c.LookupOrMake(t.Context(), testKey("app"), forEver, fill(t, "second"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if names := entries(t, c); len(names) != 3 { // both entries, and what is locked
		t.Errorf("root holds %q", names)
	}
}

func TestDamageThatIsMendedIsReported(t *testing.T) {
	var reported []*DamageError
	c, err := Open(filepath.Join(t.TempDir(), "cache"), WithDamageReport(func(d *DamageError) { reported = append(reported, d) }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := os.Remove(filepath.Join(store(t, c, testKey("app"), []byte("bad")), "meta.json")); err != nil {
		t.Fatal(err)
	}
	e, err := c.LookupOrMake(t.Context(), testKey("app"), forEver, fill(t, "good"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if len(reported) != 1 || reported[0].Key != testKey("app").String() {
		t.Errorf("reported %v", reported)
	}
}
