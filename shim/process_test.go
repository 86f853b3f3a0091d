package shim

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"testing"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// reapChildren does what the shim's server does, for the time of a test.
func reapChildren(t *testing.T) {
	t.Helper()
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGCHLD)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range signals {
			_ = reaper.Reap()
		}
	}()
	t.Cleanup(func() {
		signal.Stop(signals)
		close(signals)
		<-ended
	})
}

func spawnSleep(t *testing.T) *process {
	t.Helper()
	p := newProcess(0)
	p.cmd = exec.Command("sleep", "60")
	ended := func(status int, err error) { p.exited(status, err, func() {}) }
	if err := p.spawn(func(start func() error) error { return start() }, ended); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

func TestTheFirstTerminatingSignalIsTheExitStatus(t *testing.T) {
	reapChildren(t)
	for name, test := range map[string]struct {
		signals []unix.Signal
		status  uint32
	}{
		"SIGTERM":              {[]unix.Signal{unix.SIGTERM}, 143},
		"SIGKILL":              {[]unix.Signal{unix.SIGKILL}, 137},
		"SIGINT":               {[]unix.Signal{unix.SIGINT}, 130},
		"a real-time signal":   {[]unix.Signal{40}, 168},
		"ignored, then SIGHUP": {[]unix.Signal{0, unix.SIGCHLD, unix.SIGWINCH, unix.SIGHUP}, 129},
		"stopped, then killed": {[]unix.Signal{unix.SIGSTOP, unix.SIGTERM}, 143},
	} {
		t.Run(name, func(t *testing.T) {
			p := spawnSleep(t)
			for _, sig := range test.signals {
				if err := p.signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.wait(context.Background()); err != nil {
				t.Fatal(err)
			}
			if p.exitStatus != test.status || p.status != tasktypes.Status_STOPPED || p.exitedAt.IsZero() {
				t.Errorf("status %d (%s) at %s, want %d", p.exitStatus, p.status, p.exitedAt, test.status)
			}
			if err := p.signal(unix.SIGTERM); !errdefs.IsNotFound(err) {
				t.Errorf("signal to an ended process: %v", err)
			}
		})
	}
}

func TestNoSuchSignal(t *testing.T) {
	reapChildren(t)
	p := spawnSleep(t)
	for _, sig := range []unix.Signal{-1, 65} {
		if err := p.signal(sig); !errdefs.IsInvalidArgument(err) {
			t.Errorf("signal %d: %v", int(sig), err)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	reapChildren(t)
	p := spawnSleep(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.wait(ctx); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
