package task

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

func TestDeleteAfterTheShimWasKilled(t *testing.T) {
	for _, test := range []struct {
		name   string
		enter  func(s *shim)
		status uint32
	}{
		{"before create", func(*shim) {}, 137},
		{"after create", func(s *shim) { s.mustCreate("a") }, 137},
		{"after start", func(s *shim) { s.mustCreate("a"); s.mustStart("a") }, 137},
		{"after the exit", func(s *shim) {
			s.mustCreate("a")
			s.mustStart("a")
			if err := s.kill("a", unix.SIGTERM); err != nil {
				s.d.t.Fatal(err)
			}
			s.wait("a")
		}, 143},
		{"after delete", func(s *shim) {
			s.mustCreate("a")
			if _, err := s.delete("a"); err != nil {
				s.d.t.Fatal(err)
			}
		}, 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDaemon(t)
			d.bundle("a", spin(), nil)
			s := d.start("a")
			test.enter(s)
			guest := -1
			if resp, err := s.Connect(context.Background(), &taskapi.ConnectRequest{ID: "a"}); err != nil {
				t.Fatal(err)
			} else if resp.TaskPid != 0 {
				// It may have ended and be gone: then there is no pidfd.
				guest, _ = unix.PidfdOpen(int(resp.TaskPid), 0)
			}
			killAndWait(t, s.pid)
			resp := d.cleanup("a")
			if resp.ExitStatus != test.status {
				t.Errorf("exit status %d, want %d", resp.ExitStatus, test.status)
			}
			if guest >= 0 {
				waitEnd(t, guest)
				unix.Close(guest)
			}
			if _, err := os.Stat(strings.TrimPrefix(s.address, "unix://")); err == nil {
				t.Errorf("socket %s is left", s.address)
			}
			d.assertNothingLeft()
			d.cleanup("a") // a daemon may repeat it
		})
	}
}

// A `start` whose daemon has gone ends by SIGPIPE, after its server has begun: nobody
// else would end that.
func TestAServerEndsWithAStartThatNobodyHears(t *testing.T) {
	d := newDaemon(t)
	bundle := d.bundle("a", spin(), nil)
	d.readLog("a")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	start := d.shimCommand("a", "start")
	start.Stdout = w
	err = start.Run()
	w.Close()
	if err == nil {
		t.Error("start succeeded")
	}
	d.assertNoProcess()
	address, err := os.ReadFile(filepath.Join(bundle, "address"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(strings.TrimPrefix(string(address), "unix://")); err == nil {
		t.Errorf("socket %s is left", address)
	}
}

// What a shim leaves for `delete` is about one container, and not about the next
// one in its bundle.
func TestABundleThatIsUsedAgain(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	s.mustCreate("a")
	first, err := s.delete("a")
	if err != nil {
		t.Fatal(err)
	}
	if resp := d.cleanup("a"); resp.Pid != first.Pid || resp.ExitStatus != first.ExitStatus || !proto.Equal(resp.ExitedAt, first.ExitedAt) {
		t.Errorf("delete answers %v after a Delete that answered %v", resp, first)
	}
	second := s.mustCreate("a")
	killAndWait(t, s.pid)
	if resp := d.cleanup("a"); resp.Pid != second.Pid {
		t.Errorf("delete answers %v for a container whose pid is %d", resp, second.Pid)
	}
	d.assertNothingLeft()
}

// The steps of Create are too short to be hit by name; together these moments
// hit them all, and each must be cleaned up after.
func TestDeleteAfterTheShimWasKilledInCreate(t *testing.T) {
	t.Parallel()
	for delay := time.Duration(0); delay <= 40*time.Millisecond; delay += 2 * time.Millisecond {
		t.Run(delay.String(), func(t *testing.T) {
			d := newDaemon(t)
			d.bundle("a", spin(), nil)
			s := d.start("a")
			answered := make(chan error, 1)
			go func() {
				_, err := s.create("a")
				answered <- err
			}()
			time.Sleep(delay) // the moment is the input of this test
			killAndWait(t, s.pid)
			<-answered
			d.cleanup("a")
			d.assertNothingLeft()
			d.assertNoProcess()
		})
	}
}

func TestShutdownEndsTheShimWithItsLastContainer(t *testing.T) {
	ctx := context.Background()
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	s.mustCreate("a")
	if _, err := s.Shutdown(ctx, &taskapi.ShutdownRequest{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Connect(ctx, &taskapi.ConnectRequest{ID: "a"}); err != nil {
		t.Fatalf("the shim ended with a container left: %v", err)
	}
	if _, err := s.delete("a"); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, _ = s.Shutdown(ctx, &taskapi.ShutdownRequest{ID: "a"})
	waitEnd(t, fd)
	if _, err := os.Stat(strings.TrimPrefix(s.address, "unix://")); err == nil {
		t.Errorf("socket %s is left", s.address)
	}
	d.assertEvents("a", "create", "exit 137", "delete 137")
}

// A client that gives up on a Create leaves no shim behind.
func TestShutdownDuringACreateThatIsCancelled(t *testing.T) {
	d := newDaemon(t)
	bundle := d.bundle("a", spin(), nil)
	s := d.start("a")
	out := filepath.Join(bundle, "out")
	if err := unix.Mkfifo(out, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// Create waits for a reader of stdout, who never comes.
	created := make(chan error, 1)
	go func() {
		_, err := s.Create(context.Background(), &taskapi.CreateTaskRequest{ID: "a", Bundle: bundle, Stdout: out})
		created <- err
	}()
	within(t, "the container has begun", func() bool {
		_, err := os.Stat(filepath.Join(bundle, "wasm.json"))
		return err == nil
	})
	if _, err := s.Shutdown(context.Background(), &taskapi.ShutdownRequest{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	s.client.Close()
	if err := <-created; err == nil {
		t.Error("Create succeeded")
	}
	waitEnd(t, fd)
	d.assertNothingLeft()
}
