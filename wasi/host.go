package wasi

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Config is what one guest finds in its host.
type Config struct {
	// Args is the guest's argv, args[0] included.
	Args []string
	// Env is the guest's environment as KEY=VALUE, in order.
	Env []string
	// Preopens become the guest's descriptors from 3 on, in order.
	Preopens []Preopen
	// Stdin, Stdout and Stderr are the guest's descriptors 0, 1 and 2; nil reads
	// as empty and discards what is written.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Preopen is a directory that the guest may use.
type Preopen struct {
	// Host is its path for this process.
	Host string
	// Guest is its name for the guest.
	Guest string
	// ReadOnly refuses every change below it.
	ReadOnly bool
}

// Host is the host of one guest.
type Host struct {
	config Config
	module wazero.ModuleConfig
}

// NewHost checks the configuration and prepares the guest's resources. It fails
// on what the guest would otherwise meet only after its start: an argument that
// no C string can hold, or a preopen that is not a directory (in that case the
// error wraps that of the system).
func NewHost(c Config) (*Host, error) {
	m := wazero.NewModuleConfig().
		// Nobody may import from the guest, and a guest that calls itself
		// wasi_snapshot_preview1 must not collide with its host.
		WithName("").
		// The runner calls the entry point itself.
		WithStartFunctions().
		WithArgs(c.Args...).
		WithRandSource(random{}).
		WithSysWalltime().
		WithSysNanotime().
		WithSysNanosleep().
		WithOsyield(runtime.Gosched)
	// An interface that holds no stream must not reach wazero as one.
	if c.Stdin != nil {
		m = m.WithStdin(c.Stdin)
	}
	if c.Stdout != nil {
		m = m.WithStdout(c.Stdout)
	}
	if c.Stderr != nil {
		m = m.WithStderr(c.Stderr)
	}
	for i, arg := range c.Args {
		if strings.ContainsRune(arg, 0) {
			return nil, fmt.Errorf("argument %d contains a NUL character", i)
		}
	}
	for _, kv := range c.Env {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" || strings.ContainsRune(kv, 0) {
			return nil, fmt.Errorf("environment entry %q is not of the form KEY=VALUE", kv)
		}
		m = m.WithEnv(key, value)
	}
	fs := wazero.NewFSConfig()
	for _, p := range c.Preopens {
		st, err := os.Stat(p.Host)
		if err != nil {
			return nil, fmt.Errorf("directory %s for the guest's %s: %w", p.Host, p.Guest, err)
		}
		if !st.IsDir() {
			return nil, fmt.Errorf("directory %s for the guest's %s: not a directory", p.Host, p.Guest)
		}
		if p.ReadOnly {
			fs = fs.WithReadOnlyDirMount(p.Host, p.Guest)
		} else {
			fs = fs.WithDirMount(p.Host, p.Guest)
		}
	}
	return &Host{config: c, module: m.WithFSConfig(fs)}, nil
}

// ModuleConfig is with what the guest must be instantiated for the functions of
// this host to find their resources.
func (h *Host) ModuleConfig() wazero.ModuleConfig { return h.module }

// Instantiate puts the host modules that the guest imports into the runtime.
// Every imported function must be one that Provides knows.
func (h *Host) Instantiate(ctx context.Context, r wazero.Runtime, guest wazero.CompiledModule) error {
	var preview1 bool
	var envNames []string
	for _, f := range guest.ImportedFunctions() {
		module, name, _ := f.Import()
		switch module {
		case Preview1:
			preview1 = true
		case Env:
			envNames = append(envNames, name)
		}
	}
	if preview1 {
		// wazero offers no way to register less than all of it (0.1 ms).
		if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
			return fmt.Errorf("instantiate %s: %w", Preview1, err)
		}
	}
	if len(envNames) > 0 {
		if err := h.instantiateEnv(ctx, r, envNames); err != nil {
			return fmt.Errorf("instantiate %s: %w", Env, err)
		}
	}
	return nil
}
