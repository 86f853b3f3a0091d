package kind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runtimeName is the name under which this program is an OCI runtime; see
// BecomeRuntime.
const runtimeName = "runc-without-sys-resource"

// startTime is many times what a busy machine needs for a daemon to come up.
const startTime = 2 * time.Minute

// Docker is a dockerd that this process has started.
type Docker struct {
	cmd    *exec.Cmd
	exited chan struct{}
	log    string
}

// StartDocker starts the dockerd that PATH names, in the machine around this
// process, with all that it writes below dir. The caller stops it.
func StartDocker(ctx context.Context, dir string) (*Docker, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	args := []string{"--data-root", filepath.Join(dir, "data"), "--exec-root", "/run/docker", "--oom-score-adjust", "0"}
	if limited, err := lacksSysResource(); err != nil {
		return nil, err
	} else if limited {
		self, err := os.Readlink("/proc/self/exe")
		if err != nil {
			return nil, err
		}
		runtime := filepath.Join(dir, runtimeName)
		if err := os.Symlink(self, runtime); err != nil {
			return nil, err
		}
		args = append(args, "--add-runtime", "limited="+runtime, "--default-runtime", "limited")
	}
	log, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d := &Docker{cmd: exec.Command("dockerd", args...), exited: make(chan struct{}), log: log.Name()}
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.exited)
	}()
	for !Answers(ctx) {
		select {
		case <-d.exited:
			return nil, fmt.Errorf("dockerd ended: %v\n%s", d.cmd.ProcessState, d.lastLines(20))
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for dockerd: %w\n%s", ctx.Err(), d.lastLines(20)), d.Stop())
		case <-time.After(100 * time.Millisecond): // it tells its readiness to systemd only
		}
	}
	return d, nil
}

// Answers tells whether there is a Docker that answers.
func Answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// Without a server the client still exits with 0 when it is asked for more.
	out, err := exec.CommandContext(ctx, "docker", "info", "--format", "{{.ServerVersion}}").Output()
	return err == nil && len(bytes.TrimSpace(out)) > 0
}

// Stop ends dockerd with its containers.
func (d *Docker) Stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
		return nil
	case <-time.After(30 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.exited
		return errors.New("dockerd did not end on SIGTERM")
	}
}

func (d *Docker) lastLines(n int) string {
	b, _ := os.ReadFile(d.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// lacksSysResource tells whether a capability that Docker gives to privileged
// containers, and uses itself, cannot be had here.
func lacksSysResource() (bool, error) {
	has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	return has == 0, err
}
