package task

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// kubelet mounts a file there, which anybody may write to.
func TestATrapIsToldWhereKubeletLooks(t *testing.T) {
	var m wasmtest.Module
	trap := m.Func(m.Type(nil, nil), []byte{0x00}) // unreachable
	m.FuncName(trap, "gives_up")
	m.Export("_start", wasmtest.KindFunc, trap)
	for name, write := range map[string]os.FileMode{"anybody": 0o666, "root alone": 0o600} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			log := filepath.Join(d.dir, "log")
			if err := os.WriteFile(log, nil, write); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(log, write); err != nil {
				t.Fatal(err)
			}
			d.bundle("a", m.Bytes(), func(s *specs.Spec) {
				s.Process.User = specs.User{UID: 1000, GID: 1000}
				s.Mounts = append(s.Mounts,
					specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
					specs.Mount{Destination: "/dev/termination-log", Type: "bind", Source: log, Options: []string{"rbind", "rw"}})
			})
			s := d.start("a")
			s.mustCreate("a")
			s.mustStart("a")
			if status := s.wait("a"); status != 134 {
				t.Errorf("exit status %d", status)
			}
			b, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			told := strings.HasPrefix(string(b), "/app.wasm: trap: unreachable\n") && strings.Contains(string(b), "gives_up")
			if told != (write == 0o666) {
				t.Errorf("the file holds %q", b)
			}
			if _, err := s.delete("a"); err != nil {
				t.Error(err)
			}
		})
	}
}
