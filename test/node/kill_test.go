package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/deploy/node"
)

// installIn holds the errand of a process that is to be killed: it is this test
// binary, run anew.
const installIn = "NODE_TEST_INSTALL_IN"

// errand is what such a process does.
type errand struct {
	Config    node.Config
	Uninstall bool
	// DieAt is the number of the step before which the process kills itself.
	DieAt int
}

// installAndDie is the process of TestKill.
func installAndDie(file string) int {
	var e errand
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	step := 0
	e.Config.Step = func(name string) {
		if step++; step == e.DieAt {
			fmt.Println("killed before:", name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	// The daemon is the parent's, which restarts it when asked on this pipe and says
	// so on stdin.
	syscall.CloseOnExec(3)
	ask := os.NewFile(3, "ask")
	e.Config.Restart = func(context.Context) error {
		if _, err := ask.Write([]byte{'\n'}); err != nil {
			return err
		}
		_, err := os.Stdin.Read(make([]byte, 1))
		return err
	}
	if e.Uninstall {
		_, err = node.Uninstall(context.Background(), e.Config, false)
	} else {
		_, err = node.Install(context.Background(), e.Config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runErrand returns whether the process was killed, and at which step.
func (m *machine) runErrand(e errand) (killed bool, at string) {
	m.t.Helper()
	e.Config.Restart, e.Config.Step = nil, nil
	b, err := json.Marshal(struct {
		errand
		Config map[string]any
	}{e, map[string]any{"Root": e.Config.Root, "Programs": e.Config.Programs, "Layout": e.Config.Layout, "Patience": e.Config.Patience}})
	m.must(err)
	file := filepath.Join(m.t.TempDir(), "errand")
	m.must(os.WriteFile(file, b, 0o600))

	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), installIn+"="+file)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	m.must(err)
	var out strings.Builder
	cmd.Stdout = &out
	asked, ask, err := os.Pipe()
	m.must(err)
	defer asked.Close()
	cmd.ExtraFiles = []*os.File{ask}
	err = cmd.Start()
	ask.Close()
	m.must(err)
	// Until the process has ended and with it the last writer.
	for b := make([]byte, 1); ; {
		if _, err := asked.Read(b); err != nil {
			break
		}
		m.must(m.restart(context.Background()))
		_, err = stdin.Write(b)
		m.must(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true, strings.TrimSpace(out.String())
	}
	m.must(err)
	return false, ""
}

// Whatever step an installer is killed before, the next run leaves the node as it was.
func TestKilledInstallerLeavesTheNodeAsItWas(t *testing.T) {
	for _, test := range []struct{ name, layout, version string }{
		{"plain", "plain", "2.4"},
		{"plain-with-inline-tables", "plain", "2.4"},
		{"k3s-with-drop-ins", "k3s", "2.2"},
		{"plain-without-a-file-1", "plain", "1.7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t, test.layout, test.version, filepath.Join("testdata", test.name, "before"))
			m.must(m.start(t.Context()))
			killAtEachStep(t, m, false)
			if _, err := node.Install(t.Context(), m.config()); err != nil {
				t.Fatal(err)
			}
			killAtEachStep(t, m, true)
		})
	}
}

func killAtEachStep(t *testing.T, m *machine, uninstall bool) {
	before := m.files()
	for n := 1; ; n++ {
		killed, at := m.runErrand(errand{Config: m.config(), Uninstall: uninstall, DieAt: n})
		if !killed {
			if n < 8 {
				t.Errorf("the whole has only %d steps", n)
			}
			break
		}
		if strings.Contains(at, "remove /") {
			// What is removed last is named by nothing: the next run goes on.
			if _, err := node.Uninstall(t.Context(), m.config(), false); err != nil {
				t.Errorf("%s: %v", at, err)
			}
			break
		}
		if err := node.Recover(t.Context(), m.config()); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if d := differ(before, m.files()); d != "" {
			t.Fatalf("%s: recovering leaves:\n%s", at, d)
		}
		if r, err := node.Verify(t.Context(), m.config()); (err == nil) != uninstall {
			t.Fatalf("%s: afterwards: %+v, %v", at, r, err)
		}
	}
	if _, err := node.Verify(t.Context(), m.config()); (err == nil) == uninstall {
		t.Errorf("at the end: %v", err)
	}
	if _, err := node.Uninstall(t.Context(), m.config(), false); err != nil {
		t.Error(err)
	}
}
