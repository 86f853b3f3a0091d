package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// module is a guest by its size.
type module struct {
	name string
	path func(*provision.Store, context.Context) (string, error)
	// args make it print and end, waits print and wait; nil if it does not.
	args, waits []string

	bytes []byte // set by load
}

// guest is the path of a guest that the checkout has the source of.
func guest(name string) func(*provision.Store, context.Context) (string, error) {
	return func(s *provision.Store, ctx context.Context) (string, error) { return s.Guest(ctx, name) }
}

func (m *module) load(ctx context.Context, store *provision.Store) error {
	path, err := m.path(store, ctx)
	if err != nil {
		return err
	}
	m.bytes, err = os.ReadFile(path)
	return err
}

// size of the module in words.
func (m *module) size() string {
	if n := len(m.bytes); n < 1e6 {
		return fmt.Sprintf("%d KB", n/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(len(m.bytes))/1e6)
}

func (m *module) ref(i int) string {
	return fmt.Sprintf("localhost/module-%s:%d", strings.ReplaceAll(strings.ToLower(m.name), " ", "-"), i)
}

// add imports the image with number i. A module with another custom section is
// another module to the cache of compiled code.
func (m *module) add(ctx context.Context, d *daemon.Daemon, i int) error {
	nonce := fmt.Appendf(nil, "%d %d", i, time.Now().UnixNano())
	section := append(binary.AppendUvarint(nil, 5), "bench"...)
	section = append(section, nonce...)
	unique := slices.Concat(m.bytes, []byte{0}, binary.AppendUvarint(nil, uint64(len(section))), section)
	tar := filepath.Join(d.Dir, "work", "module.tar")
	defer os.Remove(tar)
	if err := (scratchimage.Image{Ref: m.ref(i), Files: map[string][]byte{"/app": unique}, Entrypoint: []string{"/app"}, Env: []string{"PATH=/"}}).Write(tar); err != nil {
		return err
	}
	return d.ImportImage(ctx, tar)
}
