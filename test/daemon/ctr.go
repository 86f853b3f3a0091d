package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
)

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code, or -1 when a signal or the context ended the
	// command, or when it could not start.
	Code int
}

// Ctr runs the daemon's ctr in the daemon's namespace, without stdin.
func (d *Daemon) Ctr(ctx context.Context, args ...string) Result {
	return d.CtrInput(ctx, nil, args...)
}

// CtrInput is Ctr with a stdin.
func (d *Daemon) CtrInput(ctx context.Context, stdin io.Reader, args ...string) Result {
	cmd := d.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: withoutDeprecations(stderr.String())}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		r.Code = -1
		r.Stderr += err.Error()
	}
	return r
}

// withoutDeprecations removes ctr's own warning about cgroup v1, which says
// nothing of the container.
func withoutDeprecations(stderr string) string {
	var kept strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, `level=warning msg="DEPRECATION: `) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// Command returns a call of ctr that the caller starts.
func (d *Daemon) Command(ctx context.Context, args ...string) *exec.Cmd {
	// The FIFOs of a container lie with the daemon, so that lost ones are seen.
	if len(args) > 0 && args[0] == "run" {
		args = append([]string{"run", "--fifo-dir", d.path("fifo")}, args[1:]...)
	}
	args = append([]string{"--address", d.Address(), "--namespace", d.Namespace}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(d.programs.Containerd, "ctr"), args...)
	cmd.Env, cmd.Dir = d.env, d.path("work")
	return cmd
}

// Goroutines returns how many the daemon has, which it says on its debug socket.
func (d *Daemon) Goroutines(ctx context.Context) (n int, _ error) {
	var dialer net.Dialer
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", d.path("debug.sock"))
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://containerd/debug/pprof/goroutine?debug=1", nil)
	if err != nil {
		return 0, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = fmt.Fscanf(resp.Body, "goroutine profile: total %d", &n)
	return n, err
}

// ImportImage makes an image file known to the daemon.
func (d *Daemon) ImportImage(ctx context.Context, tar string, flags ...string) error {
	args := append([]string{"images", "import"}, flags...)
	if r := d.Ctr(ctx, append(args, tar)...); r.Code != 0 {
		return fmt.Errorf("import %s: %s%s", tar, r.Stdout, r.Stderr)
	}
	return nil
}

// NewID returns a container id that no other container of this daemon has. The
// sockets of shims that are started for such ids count in the daemon's scope.
func (d *Daemon) NewID(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := fmt.Sprintf("%s-%d", strings.ToLower(name), len(d.ids)+1)
	d.ids = append(d.ids, id)
	return id
}

// sockets returns the paths of the sockets that shims of known ids make. Their
// directory is the same for all daemons of a machine, so names tell whose they
// are.
func (d *Daemon) sockets() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var paths []string
	for _, id := range d.ids {
		for _, name := range []string{id, filepath.Join(id, "debug")} {
			paths = append(paths, d.Socket(d.Namespace, name))
		}
	}
	return paths
}

// Socket is the path of the socket of the shim of a group or a container.
func (d *Daemon) Socket(namespace, id string) string {
	return fmt.Sprintf("/run/containerd/s/%x", sha256.Sum256([]byte(filepath.Join(d.Address(), namespace, id))))
}
