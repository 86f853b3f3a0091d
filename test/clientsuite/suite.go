package clientsuite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// Variant is one way to run the suite.
type Variant struct {
	Name string
	// Runtime is what the suite's containers name as their runtime.
	Runtime string
	// Wasm is whether their commands are a Wasm module.
	Wasm bool
}

// runcRuntime is the runtime that the suite uses by itself.
const runcRuntime = "io.containerd.runc.v2"

// Variants are what is compared.
var Variants = []Variant{
	{Name: "runc", Runtime: runcRuntime},
	{Name: "native", Runtime: "io.containerd.wasm.v1"},
	{Name: "wasm", Runtime: "io.containerd.wasm.v1", Wasm: true},
}

// Outcomes of a test, in the words of `go tool test2json`.
const (
	Passed  = "pass"
	Failed  = "fail"
	Skipped = "skip"
)

// Result is how one test ended.
type Result struct {
	Test    string
	Outcome string
	Output  string
	Seconds float64
}

// Report is how one run of the suite ended.
type Report struct {
	Results []Result
	// Left is what the suite left of its containers when its daemon had ended:
	// a line each, with the container's id.
	Left []string
}

// Suite is what all variants need.
type Suite struct {
	Store *provision.Store
	// Bin has the shim and the runner.
	Bin string
	// Run selects tests, as `go test -run` does; empty for all.
	Run string
	// Quick leaves out the slow tests.
	Quick bool
}

// slow are tests that wait for half a minute or have more to do than all the
// others together, and none of which is about what runs a container but for the
// last three.
var slow = []string{
	"TestSnapshotterClient", "TestContentClient", "TestImport", "TestTransferImport", "TestExportAllCases",
	"TestIssue9103", "TestRestartMonitor", "TestContainerExecLargeOutputWithTTY",
}

// Report runs the suite once, without the tests of skip. A test with subtests
// counts by these. The error is non-nil when the suite did not come to its end;
// the report has then what it did.
func (s *Suite) Report(ctx context.Context, v Variant, skip []string) (r Report, err error) {
	images, err := s.images(ctx, v)
	if err != nil {
		return r, err
	}
	registry, err := serve(images)
	if err != nil {
		return r, err
	}
	defer registry.Close()
	place, err := daemon.NewPlace()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, place.Remove(context.WithoutCancel(ctx))) }()

	programs, err := s.programs(ctx, v, filepath.Join(place.Dir, "shims"))
	if err != nil {
		return r, err
	}
	if s.Quick {
		skip = append(skip, slow...)
	}
	c := cell{
		Dir:      place.Dir,
		Programs: programs,
		Cwd:      programDir(0),
		Args: []string{"./client.test", "-test.v=test2json", "-test.root", "-test.timeout=15m",
			// containerd's own makefile runs it so.
			"-test.parallel=8",
			"-test.run=" + s.Run, "-test.skip=^(" + strings.Join(skip, "|") + ")$"},
		Env: append(registry.environment("/tmp/certificate.pem"),
			place.Mark(), "TEST_RUNTIME="+v.Runtime, "IMAGE_LIST=/tmp/images.toml"),
		Watch: []string{"/run/containerd-test/io.containerd.runtime.v2.task/*/*"},
	}
	cmd, err := c.start(ctx)
	if err != nil {
		return r, err
	}
	for name, content := range map[string][]byte{
		"certificate.pem": registry.certificate, "images.toml": []byte(images.imageList()),
	} {
		if err := os.WriteFile(filepath.Join(place.Dir, "tmp", name), content, 0o644); err != nil {
			return r, err
		}
	}
	r.Results, err = collect(ctx, cmd)
	if left, readErr := os.ReadFile(filepath.Join(place.Dir, leftFile)); readErr == nil {
		r.Left = strings.FieldsFunc(string(left), func(c rune) bool { return c == '\n' })
	}
	return r, err
}

// debianBusybox is what Debian's busybox does not do as the suite's own image:
// it knows no bash, and its nc leaves SIGTERM as it is, which the kernel then
// keeps from the first process of a PID namespace.
var debianBusybox = map[string]string{
	"bash": "#!/bin/sh\nexec sh \"$@\"\n",
	"nc":   "#!/bin/sh\ntrap 'exit 143' TERM\nbusybox nc \"$@\" &\nwait $!\n",
}

func (s *Suite) images(ctx context.Context, v Variant) (*contents, error) {
	path, err := s.Store.Busybox(ctx)
	own := debianBusybox
	if v.Wasm {
		path, err = s.Store.Guest(ctx, "applets")
		own = nil
	}
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(path)
	return suiteImages(program, own), err
}

// programs returns the directories that the cell needs, the suite's own first.
// Some tests name runc's shim whatever the suite was told: shims is made to hold
// that name for the runtime under test.
func (s *Suite) programs(ctx context.Context, v Variant, shims string) ([]string, error) {
	suite, err := s.Store.ClientSuite(ctx)
	if err != nil {
		return nil, err
	}
	containerd, err := s.Store.Containerd(ctx, "2.4")
	if err != nil {
		return nil, err
	}
	runc, err := s.Store.Runc(ctx)
	if err != nil {
		return nil, err
	}
	dirs := []string{suite, filepath.Join(suite, "bin"), s.Bin, shims, containerd, runc}
	if err := os.Mkdir(shims, 0o755); err != nil {
		return nil, err
	}
	if v.Runtime == runcRuntime {
		return dirs, nil
	}
	shim := filepath.Join(programDir(slices.Index(dirs, s.Bin)), "containerd-shim-wasm-v1")
	return dirs, os.Symlink(shim, filepath.Join(shims, "containerd-shim-runc-v2"))
}

// collect runs the command, whose output is that of a test binary, and returns
// the results that it tells.
func collect(ctx context.Context, suite *exec.Cmd) ([]Result, error) {
	convert := exec.CommandContext(ctx, "go", "tool", "test2json", "-t")
	output, err := suite.StdoutPipe()
	if err != nil {
		return nil, err
	}
	suite.Stderr = suite.Stdout
	convert.Stdin = output
	events, err := convert.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := suite.Start(); err != nil {
		return nil, err
	}
	if err := convert.Start(); err != nil {
		_ = suite.Process.Kill()
		return nil, errors.Join(err, suite.Wait())
	}
	results, rest, readErr := read(bufio.NewReader(events))
	convertErr := convert.Wait()
	err = suite.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && len(results) > 0 && !strings.Contains(rest, "\npanic: ") {
		err = nil // tests failed
	}
	if err = errors.Join(readErr, convertErr, err); err != nil {
		return results, fmt.Errorf("the suite did not come to its end: %w\n%s", err, rest)
	}
	return results, nil
}

// read returns the results of tests without subtests, and what was printed
// outside of all tests and by those that did not end.
func read(events *bufio.Reader) (results []Result, rest string, _ error) {
	outputs := map[string]*strings.Builder{}
	failedBelow := map[string]bool{} // whether a test with subtests has a failed one
	var outside strings.Builder
	for decoder := json.NewDecoder(events); decoder.More(); {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := decoder.Decode(&e); err != nil {
			return results, outside.String(), err
		}
		parent := ""
		if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
			parent = e.Test[:i]
		}
		switch {
		case e.Test == "":
			outside.WriteString(e.Output)
		case e.Action == "run":
			outputs[e.Test] = &strings.Builder{}
			if parent != "" {
				failedBelow[parent] = failedBelow[parent] || false
			}
		case e.Action == "output" && outputs[e.Test] != nil:
			// The client's log of what it does all day hides what went wrong.
			if !strings.Contains(e.Output, "level=debug") {
				outputs[e.Test].WriteString(e.Output)
			}
		case e.Action == Passed || e.Action == Failed || e.Action == Skipped:
			if parent != "" && e.Action == Failed {
				failedBelow[parent] = true
			}
			output := outputs[e.Test].String()
			delete(outputs, e.Test)
			below, hasSubtests := failedBelow[e.Test]
			if hasSubtests && (below || e.Action != Failed) {
				continue // its subtests count
			}
			results = append(results, Result{Test: e.Test, Outcome: e.Action, Output: output, Seconds: e.Elapsed})
		}
	}
	for test, output := range outputs {
		fmt.Fprintf(&outside, "%s did not end\n%s", test, output)
	}
	return results, outside.String(), nil
}
