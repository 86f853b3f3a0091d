package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/wasi"
)

// coreProgram is a guest in a core module.
type coreProgram struct {
	module   string
	entry    string
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	host     *wasi.Host
	memory   *linearMemory
	stderr   *os.File
	// termination gets the beginning of what stderr gets of a trap; may be nil.
	termination *os.File
	// initialize tells that the reactor's entry point comes before entry.
	initialize bool
}

// loadCore checks, compiles and links a core module.
func loadCore(ctx context.Context, binary []byte, info *binaryInfo, w *oci.Workload, o options) (_ program, err error) {
	limit := uint64(maxMemoryPages * pageSize)
	if w.MemoryLimit != 0 {
		limit = min(limit, w.MemoryLimit&^(pageSize-1))
	}
	entry, err := checkEntry(info, w.Module, w.Export)
	if err != nil {
		return nil, err
	}
	if err := checkMemory(info, w.Module, limit); err != nil {
		return nil, err
	}
	host, err := newHost(w, o)
	if err != nil {
		return nil, err
	}
	p := &coreProgram{module: w.Module, entry: entry, host: host, stderr: o.stderr, termination: o.termination}
	defer func() {
		if err != nil {
			p.close(ctx)
		}
	}()
	if info.memory != nil {
		if p.memory, err = newLinearMemory(*info.memory, limit); err != nil {
			return nil, control.Errorf(control.Unavailable, "%s: memory of the guest: %w; raise the container's memory limit, or free memory on the node", w.Module, err)
		}
		if info.data != nil {
			info.fill(p.memory.reserved[:p.memory.size])
		}
	}
	p.runtime, p.compiled, err = compileCached(ctx, prepare(binary, info), info, w.Module, o)
	if err != nil {
		return nil, err
	}
	if err := host.Instantiate(ctx, p.runtime, p.compiled); err != nil {
		return nil, control.Errorf(control.Internal, "%s: %w; this is a defect of the runtime", w.Module, err)
	}
	_, hasInit := info.export(reactorEntry)
	p.initialize = hasInit && entry != commandEntry && entry != reactorEntry
	return p, nil
}

// prepare makes of a binary what is compiled. It changes the binary, in place or in
// a copy; the compile process and the guest's must do the same.
func prepare(binary []byte, info *binaryInfo) []byte {
	linkVariants(info)
	return prune(boundTables(binary, info), info)
}

// compileCached compiles a binary, or takes its code from the cache. The cache
// can only help: whatever is wrong with it, such as a damaged entry or a full
// disk, the binary is compiled in memory instead.
func compileCached(ctx context.Context, binary []byte, info *binaryInfo, module string, o options) (wazero.Runtime, wazero.CompiledModule, error) {
	if o.limit != nil {
		// Also for compiled code, which may turn out to be of no use.
		var held uint64
		if info.memory != nil {
			held = info.memory.min * pageSize
		}
		leave, err := o.limit(held)
		if err != nil {
			return nil, nil, err
		}
		defer leave()
	}
	if o.cache != "" {
		if r, c, ok := loadCompiled(ctx, o.cache, binary, info, module); ok {
			return r, c, nil
		}
	}
	r, c, err := compile(ctx, binary, info, module, nil)
	if err == nil {
		// The compiler leaves twenty times the module's size behind. Next to the
		// time that it took, returning that costs nothing, but for small modules.
		if len(binary) > largeModule {
			debug.FreeOSMemory()
		}
		return r, c, nil
	}
	if fromSystem(err) {
		return nil, nil, control.Errorf(control.Unavailable, "%s: compile: %w; raise the container's memory limit, or free memory on the node", module, err)
	}
	return nil, nil, refuseByEngine(module, info, err)
}

// largeModule is the size in bytes from which compiling takes a tenth of a
// second or more.
const largeModule = 256 << 10

// maxCompileWorkers bounds how many functions are compiled at a time: each
// worker keeps buffers as large as its largest function needs.
const maxCompileWorkers = 4

// compile returns a runtime that holds the compiled binary. A panic of the
// engine is an error: the binary comes from outside, and the report must reach
// the shim.
func compile(ctx context.Context, binary []byte, info *binaryInfo, module string, cache wazero.CompilationCache) (r wazero.Runtime, c wazero.CompiledModule, err error) {
	config := runtimeConfig(info)
	if cache != nil {
		config = config.WithCompilationCache(cache)
	}
	r = wazero.NewRuntimeWithConfig(ctx, config)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error: // such as that of an mmap
			err = fmt.Errorf("the engine failed on it: %w", p)
		default:
			err = fmt.Errorf("the engine failed on it: %v", p)
		}
		if err != nil {
			_ = r.Close(ctx)
			r, c = nil, nil
		}
	}()
	workers := min(runtime.GOMAXPROCS(0), maxCompileWorkers)
	c, err = r.CompileModule(experimental.WithCompilationWorkers(ctx, workers), binary)
	return r, c, err
}

func (p *coreProgram) run(ctx context.Context) uint32 {
	err := p.call(ctx)
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok {
		return exit.ExitCode()
	}
	t := newTrap(p.module, err).String()
	if p.stderr != nil {
		// In one write, so that lines of several writers stay whole.
		_, _ = io.WriteString(p.stderr, t)
	}
	if p.termination != nil {
		_, _ = io.WriteString(p.termination, firstLines(t, maxTermination))
	}
	return ExitTrap
}

// call instantiates the module, which runs its start function, and calls the
// entry point. Results of the entry point are ignored.
func (p *coreProgram) call(ctx context.Context) (err error) {
	// wazero recovers what panics below a call, but not below instantiation,
	// such as a table that does not fit in memory.
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%v%s\n\nGo runtime stack trace:\n%s", v, hostSuffix, debug.Stack())
		}
	}()
	if p.memory != nil {
		ctx = experimental.WithMemoryAllocator(ctx, p.memory)
	}
	m, err := p.runtime.InstantiateModule(ctx, p.compiled, p.host.ModuleConfig())
	if err != nil {
		return err
	}
	if p.initialize {
		if err := callFunction(ctx, m, reactorEntry); err != nil {
			return err
		}
	}
	return callFunction(ctx, m, p.entry)
}

func callFunction(ctx context.Context, m api.Module, name string) error {
	f := m.ExportedFunction(name)
	if f == nil {
		return fmt.Errorf("no function %s", name)
	}
	_, err := f.Call(ctx)
	return err
}

func (p *coreProgram) descriptors() []int { return p.host.Descriptors() }

func (p *coreProgram) close(ctx context.Context) {
	if p.runtime != nil {
		_ = p.runtime.Close(ctx)
	}
	p.host.Close()
	if p.memory != nil {
		p.memory.Free()
	}
}
