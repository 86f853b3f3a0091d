package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
)

// annotated sets annotations of the shim by what follows their prefix.
func annotated(kv ...string) oci.SpecOpts {
	all := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		all["io.containerd.wasm.v1/"+kv[i]] = kv[i+1]
	}
	return oci.WithAnnotations(all)
}

func TestAGuestThatReadsItsSignalsDrains(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, guest := range []string{"probe-c", "probe-go", "probe-rust"} {
			c := h.newContainerOf(t, guest, []string{"drain"}, annotated("drain", "1h"))
			task, exit := c.start(t)
			within(t, guest+" runs", func() bool { return c.stdout.String() == "waiting\n" })
			kill(t, task, syscall.SIGTERM)
			if got := code(t, exit); got != 0 {
				t.Errorf("%s ended with %d: %s", guest, got, c.stderr.String())
			}
			c.remove(t, task)
			if out := c.stdout.String(); out != "waiting\ndrains on SIGTERM\n" {
				t.Errorf("%s printed %q", guest, out)
			}
		}
	})
}

func TestADrainEndsWithItsTimeOrBySigkill(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, tt := range []struct {
			drain, verb string
			signals     []syscall.Signal
			want        uint32
		}{
			{"100ms", "spin", []syscall.Signal{syscall.SIGTERM}, 143},
			{"100ms", "sleep", []syscall.Signal{syscall.SIGUSR1, syscall.SIGINT, syscall.SIGTERM}, 130},
			{"1h", "sleep", []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}, 137},
			{"1h", "spin", []syscall.Signal{syscall.SIGHUP, syscall.SIGALRM}, 142},
			{"0s", "sleep", []syscall.Signal{syscall.SIGTERM}, 143},
		} {
			c := h.newContainerOf(t, "probe-c", []string{tt.verb, "600"}, annotated("drain", tt.drain))
			task, exit := c.start(t)
			within(t, "the guest runs", func() bool { return c.stdout.String() != "" })
			for _, sig := range tt.signals {
				kill(t, task, sig)
			}
			if got := code(t, exit); got != tt.want {
				t.Errorf("%s with a drain of %s ended by %v with %d, want %d", tt.verb, tt.drain, tt.signals, got, tt.want)
			}
			c.remove(t, task)
		}
	})
}

func TestLimitsByAnnotationHold(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, tt := range []struct {
			key, value string
			verb       []string
			code       int
			stdout     string
		}{
			{"memory-limit", "8Mi", []string{"allocate", "64"}, 3, "memory ends at"},
			{"max-files", "32", []string{"leak", "/probe-c.wasm"}, 0, "EMFILE\n"},
			{"preopens", "/:ro", []string{"put", "/file", "text"}, 1, ""},
			{"preopens", "/etc:ro", []string{"stat", "/probe-c.wasm"}, 1, ""},
		} {
			r := h.run(t, ctrRun{image: "probe-c", flags: []string{"--annotation", "io.containerd.wasm.v1/" + tt.key + "=" + tt.value},
				args: append([]string{"/probe-c.wasm"}, tt.verb...)})
			if r.Code != tt.code || !strings.HasPrefix(r.Stdout, tt.stdout) {
				t.Errorf("%s=%s: %v gives %+v", tt.key, tt.value, tt.verb, r)
			}
		}
		r := h.run(t, ctrRun{image: "probe-c", flags: []string{"--annotation", "io.containerd.wasm.v1/memory-limit=64Ki"}, args: []string{"/probe-c.wasm"}})
		if r.Code == 0 || !strings.Contains(r.Stderr, "but the limit for one guest is 64 KiB") {
			t.Errorf("a guest that declares more memory than its limit: %+v", r)
		}
		r = h.run(t, ctrRun{image: "probe-c", flags: []string{"--annotation", "io.containerd.wasm.v1/memory-limt=1Gi"}, args: []string{"/probe-c.wasm"}})
		if r.Code == 0 || !strings.Contains(r.Stderr, `(did you mean "memory-limit"?)`) {
			t.Errorf("an unknown annotation: %+v", r)
		}
	})
}

func TestAListenerIsOpenForAGuestThatCannotMakeOne(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		r := h.run(t, ctrRun{image: "probe-c", flags: []string{"--annotation", "io.containerd.wasm.v1/listen=127.0.0.1:8080,[::1]:8080"},
			args: []string{"/probe-c.wasm", "env"}})
		if r.Code != 0 || !strings.Contains(r.Stdout, "LISTEN_FDS=2\n") {
			t.Errorf("%+v", r)
		}
	})
}

func TestTheNodesConfigurationLimitsEveryContainer(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		file := filepath.Join(t.TempDir(), "shim.toml")
		if err := os.WriteFile(file, []byte("AllowNative = false\nMemoryLimit = \"8Mi\"\nLogLevel = \"debug\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		config := []string{"--runtime-config-path", file}
		r := h.run(t, ctrRun{image: "probe-c", flags: config, args: []string{"/probe-c.wasm", "allocate", "64"}})
		if r.Code != 3 {
			t.Errorf("a guest of a node that allows it 8 MiB: %+v", r)
		}
		r = h.run(t, ctrRun{image: "probe-c", flags: append(config, "--annotation", "io.containerd.wasm.v1/memory-limit=9Mi"), args: []string{"/probe-c.wasm"}})
		if r.Code == 0 || !strings.Contains(r.Stderr, "the node's configuration allows at most 8388608") {
			t.Errorf("an annotation that raises the limit: %+v", r)
		}
		r = h.run(t, ctrRun{image: "native", flags: config, args: []string{"/bin/busybox", "true"}})
		if r.Code == 0 || !strings.Contains(r.Stderr, "its option AllowNative is false") {
			t.Errorf("a native container: %+v", r)
		}
	})
}
