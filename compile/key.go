package compile

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/wasmshim/containerd-shim-wasm/internal/launch"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// engine names what compiles modules; the runner's build covers its version.
const engine = "wazero"

// KeyOf returns the key of a module's code as this machine's runner compiles it.
func KeyOf(m Module) (codecache.Key, error) {
	build, err := Build()
	if err != nil {
		return codecache.Key{}, err
	}
	if m.Digest != nil {
		return codecache.NewKey(*m.Digest, engine, build), nil
	}
	digest, err := digestOf(m.File, nil)
	if err != nil {
		return codecache.Key{}, fmt.Errorf("read %s: %w", m.Name, err)
	}
	return codecache.NewKey(digest, engine, build), nil
}

// digestOf hashes the whole file, and copies it to another one if that is not
// nil.
func digestOf(f, to *os.File) (digest [sha256.Size]byte, _ error) {
	h := sha256.New()
	w := io.Writer(h)
	if to != nil {
		w = io.MultiWriter(to, h)
	}
	if _, err := io.CopyBuffer(w, io.NewSectionReader(f, 0, oci.MaxModuleSize), make([]byte, 256<<10)); err != nil {
		return digest, err
	}
	h.Sum(digest[:0])
	return digest, nil
}

// Build identifies the runner's binary by the build id that Go's linker put into
// it, which depends on every input of the build: the engine, its configuration,
// and the toolchain.
var Build = sync.OnceValues(func() (string, error) {
	path, err := launch.Runner()
	if err != nil {
		return "", err
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read build id of %s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".note.go.buildid")
	if section == nil {
		return "", fmt.Errorf("%s has no build id; build it with the go command", path)
	}
	note, err := section.Data()
	if err != nil {
		return "", fmt.Errorf("read build id of %s: %w", path, err)
	}
	sum := sha256.Sum256(note)
	return hex.EncodeToString(sum[:16]), nil
})
