package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// wasmctl is the command, with the daemon's cache and socket.
func (h *host) wasmctl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(h.Shim()), "wasmctl"), args...)
	cmd.Env = append(os.Environ(), h.Scope().Mark, "CONTAINERD_SHIM_WASM_CACHE="+h.CodeCache(),
		"CONTAINERD_ADDRESS="+h.Address(), "CONTAINERD_NAMESPACE="+h.Namespace, "TMPDIR="+filepath.Join(h.Dir, "work"))
	return cmd
}

// runWasmctl runs the command to its end.
func (h *host) runWasmctl(t *testing.T, args ...string) daemon.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := h.wasmctl(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	r := daemon.Result{}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		r.Code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	return r
}

// has fails the test unless the output holds all of that.
func has(t *testing.T, got daemon.Result, code int, stdout ...string) {
	t.Helper()
	for _, s := range stdout {
		if !strings.Contains(got.Stdout, s) {
			t.Errorf("stdout lacks %q", s)
			code = -2
		}
	}
	if got.Code != code {
		t.Errorf("exit code %d, stdout\n%sstderr\n%s", got.Code, got.Stdout, got.Stderr)
	}
}

// addArtifact makes an image whose one layer is a module.
func (h *host) addArtifact(t *testing.T, ref string, module []byte) {
	t.Helper()
	cl := h.connect(t)
	ctx := namespaces.WithNamespace(t.Context(), h.Namespace)
	err := func() error {
		leased, release, err := cl.WithLease(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = release(ctx) }()
		put := func(mediaType string, b []byte, labels map[string]string) (ocispec.Descriptor, error) {
			d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
			return d, content.WriteBlob(leased, cl.ContentStore(), d.Digest.String(), bytes.NewReader(b), d, content.WithLabels(labels))
		}
		layer, err := put("application/wasm", module, nil)
		if err != nil {
			return err
		}
		config, err := put("application/vnd.wasm.config.v0+json", []byte(fmt.Sprintf(`{"architecture":"wasm","os":"wasip1","layerDigests":[%q]}`, layer.Digest)), nil)
		if err != nil {
			return err
		}
		b, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config, "layers": []any{layer}})
		if err != nil {
			return err
		}
		manifest, err := put(ocispec.MediaTypeImageManifest, b, map[string]string{
			"containerd.io/gc.ref.content.0": config.Digest.String(), "containerd.io/gc.ref.content.1": layer.Digest.String(),
		})
		if err != nil {
			return err
		}
		_, err = cl.ImageService().Create(leased, images.Image{Name: ref, Target: manifest})
		return err
	}()
	if err != nil {
		t.Fatal(err)
	}
}

// keeps returns what containerd keeps for somebody: leases, and snapshots that are
// no image's.
func (h *host) keeps(t *testing.T) (kept []string) {
	t.Helper()
	for _, list := range [][]string{{"leases", "ls", "-q"}, {"snapshots", "ls"}} {
		r := h.Ctr(t.Context(), list...)
		if r.Code != 0 {
			t.Fatalf("%v: %+v", list, r)
		}
		for line := range strings.Lines(r.Stdout) {
			if list[0] == "leases" || strings.Contains(line, "View") || strings.Contains(line, "Active") {
				kept = append(kept, strings.TrimSpace(line))
			}
		}
	}
	left, _ := filepath.Glob(filepath.Join(h.Dir, "work", "wasmctl-*"))
	return append(kept, left...)
}

func TestCompileAheadOfTheFirstContainer(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		h.image(t, "native")
		h.addArtifact(t, "localhost/layer:1", wasmtest.Exit(7))
		h.add(t, scratchimage.Image{Ref: "localhost/broken:1", Entrypoint: []string{"/app.wasm"},
			Files: map[string][]byte{"/app.wasm": append(slices.Clone(wasmtest.Header), 1, 2, 3)}})

		r := h.runWasmctl(t, "compile", "--all")
		has(t, r, 0, "compiled  localhost/probe-c:1 /probe-c.wasm", "compiled  localhost/layer:1 layer sha256:", "native    localhost/native:1", "2 compiled, 0 cached, 1 native, 1 skipped, 0 failed\n")
		if !strings.Contains(r.Stderr, "skipped   localhost/broken:1 /app.wasm: ") || strings.Contains(r.Stderr, "\x1b") {
			t.Errorf("stderr: %q", r.Stderr)
		}
		code := h.cached(t)
		if len(code) == 0 {
			t.Fatal("nothing is cached")
		}
		want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
		if now := h.cached(t); !maps.Equal(code, now) {
			t.Errorf("a container compiled again: %v, then %v", code, now)
		}
		has(t, h.runWasmctl(t, "compile", "--json", "localhost/probe-c:1"), 0, `{"state":"cached","image":"localhost/probe-c:1","module":"/probe-c.wasm","digest":"sha256:`)
		has(t, h.runWasmctl(t, "compile", "--all"), 0, "0 compiled, 2 cached, 1 native, 1 skipped, 0 failed\n")

		// Asked for by name, what cannot be prepared is a failure.
		has(t, h.runWasmctl(t, "compile", "localhost/broken:1", "localhost/probe-c:1"), 2, "1 cached, 0 native, 0 skipped, 1 failed\n")
		if r := h.runWasmctl(t, "compile", "localhost/none:1"); r.Code != 1 || !strings.Contains(r.Stderr, "there is no image localhost/none:1 in containerd's namespace") {
			t.Errorf("%+v", r)
		}
		file := filepath.Join(h.Dir, "work", "app.wasm")
		if err := os.WriteFile(file, wasmtest.Exit(8), 0o600); err != nil {
			t.Fatal(err)
		}
		has(t, h.runWasmctl(t, "compile", file), 0, "compiled  "+file, "1 compiled,")
		if kept := h.keeps(t); len(kept) > 0 {
			t.Errorf("containerd keeps %v", kept)
		}
	})
}

func TestEntriesOfImagesThatAreGoneArePruned(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		h.addArtifact(t, "localhost/layer:1", wasmtest.Exit(7))
		h.add(t, scratchimage.Image{Ref: "localhost/gone:1", Entrypoint: []string{"/app.wasm"}, Files: map[string][]byte{"/app.wasm": wasmtest.Exit(9)}})
		has(t, h.runWasmctl(t, "compile", "--all"), 0, "3 compiled")
		prune := []string{"cache", "prune", "--unused-images"}
		has(t, h.runWasmctl(t, prune...), 0, "removed 0 entries")
		if r := h.Ctr(t.Context(), "images", "rm", "--sync", "localhost/gone:1", "localhost/layer:1"); r.Code != 0 {
			t.Fatalf("%+v", r)
		}
		has(t, h.runWasmctl(t, append(prune, "--older-than", "1h")...), 0, "removed 0 entries")
		has(t, h.runWasmctl(t, append(prune, "--dry-run")...), 0, "would remove 3 entries") // two of code, and the layer
		has(t, h.runWasmctl(t, prune...), 0, "removed 3 entries")
		has(t, h.runWasmctl(t, "compile", "--all"), 0, "0 compiled, 1 cached")
		has(t, h.runWasmctl(t, "cache", "stat"), 0, "entries       1, ")
		has(t, h.runWasmctl(t, "cache", "ls", "--json"), 0, fmt.Sprintf("sha256:%x", sha256.Sum256(guestBinary(t, "probe-c"))))
		if kept := h.keeps(t); len(kept) > 0 {
			t.Errorf("containerd keeps %v", kept)
		}
	})
}

func TestACompileThatIsEndedLeavesNothing(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		h.add(t, scratchimage.Image{Ref: "localhost/slow:1", Entrypoint: []string{"/app.wasm"},
			Files: map[string][]byte{"/app.wasm": wasmtest.Hostile["br_table"](2_000_000)}})
		for signal, code := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGKILL: -1} {
			cmd := h.wasmctl(t.Context(), "compile", "--all")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			compiling := func() (found bool) {
				pids, err := h.Scope().Processes()
				if err != nil {
					t.Fatal(err)
				}
				for _, pid := range pids {
					args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
					found = found || strings.HasPrefix(string(args), "wasm-runner\x00compile")
				}
				return found
			}
			within(t, "the module is being compiled", compiling)
			_ = cmd.Process.Signal(signal)
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != code {
				t.Errorf("%v: exit code %d, %s", signal, got, &stderr)
			}
			within(t, "the compile process ends", func() bool { return !compiling() })
			if signal == syscall.SIGKILL {
				// The lease expires, and the next to open the cache removes the draft.
				for _, kept := range h.keeps(t) {
					if id, ok := strings.CutPrefix(kept, filepath.Join(h.Dir, "work")+"/"); ok {
						_ = os.Remove(filepath.Join(h.Dir, "work", id))
					}
				}
				for _, id := range strings.Fields(h.Ctr(t.Context(), "leases", "ls", "-q").Stdout) {
					h.Ctr(t.Context(), "leases", "rm", "--sync", id)
				}
				has(t, h.runWasmctl(t, "cache", "stat"), 0, "damaged       0")
			}
			if kept := h.keeps(t); len(kept) > 0 {
				t.Errorf("%v: containerd keeps %v", signal, kept)
			}
			drafts, _ := filepath.Glob(filepath.Join(h.CodeCache(), ".draft-*"))
			if len(drafts) > 0 {
				t.Errorf("%v: left %v", signal, drafts)
			}
		}
	})
}

// On a node of Kubernetes the images are those of Pods, and CRI gives each of them
// three names.
func TestCompileFindsTheImagesOfPods(t *testing.T) {
	onOwnPlainKubelet(t, []string{"2.4", "1.7"}, func(t *testing.T, k *kubelet) {
		// An empty flag is none.
		has(t, k.h.runWasmctl(t, "compile", "--all", "--namespace="), 0, "compiled  localhost/probe-c:1 /probe-c.wasm", "native    "+pauseImage+"\n", "1 compiled, 0 cached, 1 native, 0 skipped, 0 failed\n")
	})
}

// Whoever looks after the cache disturbs no container that starts meanwhile.
func TestTheCacheIsCleanedWhileContainersStart(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
		ctx, stop := context.WithCancel(t.Context())
		var cleaners sync.WaitGroup
		for _, args := range [][]string{{"prune", "--all"}, {"verify"}, {"ls"}, {"prune", "--unused-images"}} {
			cleaners.Go(func() {
				for ctx.Err() == nil {
					if r := h.runWasmctl(t, append([]string{"cache"}, args...)...); r.Code != 0 {
						t.Errorf("cache %v: %+v", args, r)
						return
					}
				}
			})
		}
		logged := len(h.Log())
		for range 15 {
			want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
		}
		stop()
		cleaners.Wait()
		for line := range strings.Lines(h.Log()[logged:]) {
			if strings.Contains(line, "not cached") || strings.Contains(line, "damaged") {
				t.Errorf("a shim says: %s", line)
			}
		}
		if kept := h.keeps(t); len(kept) > 0 {
			t.Errorf("containerd keeps %v", kept)
		}
	})
}
