package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

func TestGuestsInEveryLanguageRun(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for guest, greeting := range map[string]string{
			"hello-c":    "Hello from C in WebAssembly!\nargument 1: one\nargument 2: two words\n",
			"hello-go":   "Hello from Go in WebAssembly! (wasip1/wasm)\nargument 1: one\nargument 2: two words\n",
			"hello-rust": "Hello from Rust in WebAssembly!\nargument 1: one\nargument 2: two words\n",
		} {
			got := h.run(t, ctrRun{image: guest, args: []string{"/" + guest + ".wasm", "one", "two words"}})
			want(t, got, 0, greeting, "")
		}
		want(t, h.run(t, ctrRun{image: "minimal"}), 0, "", "")
		want(t, h.run(t, ctrRun{image: "probe-go", args: []string{"/probe-go.wasm", "timers"}}), 0, "timers are concurrent\n", "")
		want(t, h.run(t, ctrRun{image: "probe-rust", args: []string{"/probe-rust.wasm", "random"}}), 0, "328350\n", "")
		want(t, h.run(t, ctrRun{image: "probe-rust", args: []string{"/probe-rust.wasm", "sleep"}}), 0, "slept true\n", "")
	})
}

func TestStdoutAndStderrAreSeparate(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		want(t, h.probe(t, "both"), 0, "to stdout\n", "to stderr\n")
	})
}

func TestEveryByteOfOutputArrives(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		const size = 4 << 20
		for fd, name := range map[string]string{"1": "stdout", "2": "stderr"} {
			pour := ctrRun{image: "probe-c", args: []string{"/probe-c.wasm", "pour", fd, fmt.Sprint(size)}}
			// The client of 1.6 closes the FIFOs as soon as the task has stopped, with
			// whatever it has not read yet. A file has no such reader.
			log := filepath.Join(t.TempDir(), name)
			if h.Version == "1.6" {
				pour.flags = []string{"--log-uri", "file://" + log}
			}
			got := h.run(t, pour)
			out := got.Stdout + got.Stderr
			if h.Version == "1.6" {
				b, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				out += string(b)
			}
			if got.Code != 0 {
				t.Fatalf("%s: exit code %d", name, got.Code)
			}
			for at := 0; at < size; at += 16 {
				line := fmt.Sprintf("%015d\n", at)
				if rest := out[min(at, len(out)):]; !strings.HasPrefix(rest, line) {
					t.Fatalf("%s: of %d bytes, %d have arrived; at %d is %.32q, want %q", name, size, len(out), at, rest, line)
				}
			}
			if len(out) > size {
				t.Fatalf("%s: %d bytes, want %d", name, len(out), size)
			}
		}
	})
}

func TestExitCodeIsTheGuests(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, code := range []int{0, 1, 3, 126, 255} {
			want(t, h.probe(t, "exit", fmt.Sprint(code)), code, "", "")
		}
		want(t, h.run(t, ctrRun{image: "probe-go", args: []string{"/probe-go.wasm", "exit", "9"}}), 9, "", "")
		want(t, h.run(t, ctrRun{image: "probe-rust", args: []string{"/probe-rust.wasm", "exit", "11"}}), 11, "", "")
	})
}

func TestArgumentsArrive(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		want(t, h.probe(t, "args", "", "a b", "ü"), 0, "0=/probe-c.wasm\n1=args\n2=\n3=a b\n4=ü\n", "")
	})
}

func TestEnvironmentIsTheContainersAlone(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		got := h.run(t, ctrRun{image: "probe-c", flags: []string{"--env", "ONE=1", "--env", "TWO=a=b c"},
			args: []string{"/probe-c.wasm", "env"}})
		seen := map[string]bool{}
		for line := range strings.Lines(got.Stdout) {
			seen[strings.TrimSpace(line)] = true
		}
		for _, e := range []string{"ONE=1", "TWO=a=b c", "PATH=/bin:/usr/bin"} {
			if !seen[e] {
				t.Errorf("%s is missing", e)
			}
			delete(seen, e)
		}
		delete(seen, "PWD=/") // the runtime's, for guests that take their directory from it
		if len(seen) > 0 || got.Code != 0 {
			t.Errorf("exit code %d, and these are no variables of the container: %v", got.Code, seen)
		}
	})
}

func TestRelativePathsStartAtTheWorkingDirectory(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		const ref = "localhost/cwd:1"
		h.add(t, scratchimage.Image{
			Ref: ref,
			Files: map[string][]byte{
				"/app/c.wasm":      guestBinary(t, "probe-c"),
				"/app/go.wasm":     guestBinary(t, "probe-go"),
				"/app/rust.wasm":   guestBinary(t, "probe-rust"),
				"/data/d/note.txt": []byte("a note\n"),
				"/etc/note.txt":    []byte("another note\n"),
			},
			Entrypoint: []string{"/app/c.wasm"}, WorkingDir: "/data/d",
		})
		for _, module := range []string{"/app/c.wasm", "/app/go.wasm", "/app/rust.wasm"} {
			got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("cwd"), module, "read", "note.txt")
			want(t, got, 0, "a note\n", "")
			got = h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("cwd"), module, "read", "/etc/note.txt")
			want(t, got, 0, "another note\n", "")
		}
		got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("cwd"), "/app/go.wasm", "cwd")
		want(t, got, 0, "/data/d\n", "")
		// The module itself is looked up from there too.
		got = h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, "--cwd", "/app", ref, h.NewID("cwd"), "./c.wasm", "hello")
		want(t, got, 0, "hello from probe-c\n", "")
	})
}

func TestModuleIsFoundInPath(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		const ref = "localhost/path:1"
		h.add(t, scratchimage.Image{
			Ref:        ref,
			Files:      map[string][]byte{"/opt/bin/tool": guestBinary(t, "probe-c"), "/bin/": nil},
			Entrypoint: []string{"tool"},
			Env:        []string{"PATH=/bin:/opt/bin"},
		})
		got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("path"), "tool", "args")
		want(t, got, 0, "0=tool\n1=args\n", "")
	})
}

func TestNamedExportIsCalled(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		got := h.run(t, ctrRun{image: "probe-c", args: []string{"/probe-c.wasm#greet"}})
		want(t, got, 0, "greetings from an export\n", "")
		// A reactor is initialised first.
		got = h.run(t, ctrRun{image: "reactor", args: []string{"/reactor.wasm#run"}})
		want(t, got, 0, "reactor is ready: 42\n", "")
	})
}

func TestStdinArrivesAndEnds(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		input := strings.Repeat("a line of input\n", 20000)
		got := h.run(t, ctrRun{image: "probe-c", stdin: input, args: []string{"/probe-c.wasm", "cat"}})
		if got.Code != 0 || got.Stdout != input {
			t.Errorf("exit code %d, %d bytes came back, want %d; stderr %q", got.Code, len(got.Stdout), len(input), got.Stderr)
		}
		want(t, h.run(t, ctrRun{image: "probe-go", stdin: "to go", args: []string{"/probe-go.wasm", "cat"}}), 0, "to go", "")
		want(t, h.run(t, ctrRun{image: "probe-rust", stdin: "to rust", args: []string{"/probe-rust.wasm", "cat"}}), 0, "to rust", "")
	})
}

func TestTrapIsExitCode134WithAStack(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for how, in := range map[string][]string{
			"unreachable": {"unreachable", "reach_unreachable"},
			"bounds":      {"out of bounds", "read_out_of_bounds"},
			"stack":       {"stack overflow"}, // the engine gives no frames for this one
			"divide":      {"divide by zero", "divide_by_zero"},
			"abort":       {"unreachable", "abort"},
		} {
			got := h.probe(t, "trap", how)
			if got.Code != 134 {
				t.Errorf("%s: exit code %d, want 134", how, got.Code)
			}
			for _, fragment := range in {
				if !strings.Contains(got.Stderr, fragment) {
					t.Errorf("%s: stderr lacks %q:\n%s", how, fragment, got.Stderr)
				}
			}
		}
		for _, guest := range []string{"probe-rust", "probe-go"} {
			got := h.run(t, ctrRun{image: guest, args: []string{"/" + guest + ".wasm", "panic"}})
			wantCode := map[string]int{"probe-rust": 134, "probe-go": 2}[guest] // Go ends a panic by itself
			if got.Code != wantCode || !strings.Contains(got.Stderr, guest+" panics") {
				t.Errorf("%s: panic ended with %d, want %d: %s", guest, got.Code, wantCode, got.Stderr)
			}
		}
	})
}

func TestShimTellsItsVersionAndFeatures(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		version, err := exec.Command(h.Shim(), "-v").CombinedOutput()
		if err != nil || !strings.Contains(string(version), "containerd-shim-wasm-v1") || strings.Contains(string(version), "containerd/v2") {
			t.Errorf("-v: %v\n%s", err, version)
		}
		info := exec.Command(h.Shim(), "-info")
		info.Stdin, info.Stderr = strings.NewReader(""), os.Stderr
		out, err := info.Output()
		if err != nil || !strings.Contains(string(out), wasm) {
			t.Errorf("-info: %v\n%q", err, out)
		}
	})
}
