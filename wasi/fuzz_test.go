package wasi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// FuzzEnv calls what AssemblyScript imports with any pointers into any memory: it
// writes one bounded message at most, and only abort ends the guest.
func FuzzEnv(f *testing.F) {
	f.Add("abort", uint32(4), uint32(0), uint32(1), uint32(2), []byte("\x08\x00\x00\x00o\x00h\x00"))
	f.Add("trace", uint32(4), uint32(9), uint32(0), uint32(0), []byte("\xff\xff\xff\xff\x00\xd8"))
	f.Add("trace", uint32(0xffffffff), uint32(0xffffffff), uint32(1), uint32(3), []byte{})
	f.Add("abort", uint32(65536), uint32(3), uint32(65535), uint32(1), []byte("\x03\x00\x00\x00abc"))
	f.Add("seed", uint32(0), uint32(0), uint32(0), uint32(0), []byte{})
	f.Add("emscripten_notify_memory_growth", uint32(0), uint32(0), uint32(0), uint32(0), []byte{})
	m := &wasmtest.Module{}
	m.Memory(1)
	m.Export("memory", wasmtest.KindMemory, 0)
	binary := m.Bytes()
	f.Fuzz(func(t *testing.T, name string, a, b, c, d uint32, memory []byte) {
		if _, ok := env[name]; !ok {
			t.Skip("no such function")
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		h, err := NewHost(Config{Stdin: -1, Stdout: -1, Stderr: int(out.Fd())})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
		defer func() { _ = r.Close(t.Context()) }()
		guest, err := r.Instantiate(t.Context(), binary)
		if err != nil {
			t.Fatal(err)
		}
		guest.Memory().Write(0, memory[:min(len(memory), 1<<16)])
		exited := false
		func() {
			defer func() {
				if e, ok := recover().(*sys.ExitError); ok {
					exited = e.ExitCode() == abortExitCode
				}
			}()
			fn, _ := h.function(Env, name)
			const garbage = 0xdead_beef << 32
			fn.Call(t.Context(), guest, []uint64{uint64(a) | garbage, uint64(b) | garbage, uint64(c) | garbage, uint64(d) | garbage, 0, 0, 0})
		}()
		if exited != (name == "abort") {
			t.Errorf("%s ended the guest: %v", name, exited)
		}
		said, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		if s := string(said); s != "" && !strings.HasPrefix(s, name+": ") || !utf8.ValidString(s) || len(s) > 4*maxText {
			t.Errorf("%s says %.100q of %d bytes", name, s, len(s))
		}
	})
}
