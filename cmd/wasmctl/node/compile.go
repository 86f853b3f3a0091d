package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// exitIncomplete is the exit code when something could not be prepared, and what
// could be was.
const exitIncomplete = 2

// CompileCommand prepares modules ahead of the first container.
func CompileCommand() *cli.Command {
	limits := compile.DefaultLimits()
	return &cli.Command{
		Name:      "compile",
		Usage:     "compile modules of images ahead of their first container",
		UsageText: "wasmctl compile [OPTIONS] IMAGE|FILE.wasm…\nwasmctl compile [OPTIONS] --all",
		Description: `Puts into the node's cache what a first container would, by the same process in the
same sandbox, so that no container waits for the compiler. An operand that is a file
here is a module; any other is an image of containerd.

Exit codes: 0 when all is prepared, 1 when nothing could be begun, 2 when something
named, or something of the node, could not be prepared while the rest was. With --all an image
that this runtime cannot run is told and does not count. SIGTERM ends it with 143.

  wasmctl compile ghcr.io/acme/app:v1
  wasmctl compile --all`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "all images of the namespace"},
			&cli.BoolFlag{Name: "json", Usage: "one JSON object a line"},
			cacheFlag(),
			&cli.StringFlag{Name: "cache-size", Value: "10Gi", Usage: "`SIZE` of the cache, as the runtime option CacheSize"},
			&cli.DurationFlag{Name: "compile-time", Value: limits.Time, Usage: "processor `TIME` of one compilation, as the runtime option CompileTime"},
			&cli.StringFlag{Name: "compile-memory", Value: "2Gi", Usage: "`SIZE` of memory of one compilation, as the runtime option CompileMemory"},
			namespaceFlag(),
		}, daemonFlags()...),
		Action: func(c *cli.Context) error {
			if !c.Bool("all") == !c.Args().Present() {
				return errors.New("name images or modules, or all images of the node with --all; see wasmctl compile --help")
			}
			return withSignals(c.Context, func(ctx context.Context) error { return prepareAll(ctx, c) })
		},
	}
}

// withSignals runs f, which SIGINT and SIGTERM end with the exit code that shells
// give them.
func withSignals(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	done := make(chan struct{})
	defer func() {
		signal.Stop(signals)
		cancel(nil)
		<-done
	}()
	go func() {
		defer close(done)
		select {
		case s := <-signals:
			cancel(interrupted(s.(syscall.Signal)))
		case <-ctx.Done():
		}
	}()
	err := f(ctx)
	if s, ok := errors.AsType[interrupted](context.Cause(ctx)); ok && err != nil {
		return cli.Exit(s.Error(), 128+int(s))
	}
	return err
}

type interrupted syscall.Signal

func (s interrupted) Error() string { return "ended by " + unix.SignalName(syscall.Signal(s)) }

// preparation is one call of the command.
type preparation struct {
	compiler compile.Compiler
	cache    *codecache.Cache
	daemon   *daemon // nil while no image was named
	out      *reporter
	all      bool
}

func prepareAll(ctx context.Context, c *cli.Context) error {
	limits := control.CompileLimits{Time: c.Duration("compile-time")}
	if limits.Time < time.Second {
		return fmt.Errorf("--compile-time %v is less than a second", limits.Time)
	}
	memory, err := oci.ParseSize(c.String("compile-memory"))
	if err != nil {
		return fmt.Errorf("--compile-memory: %w", err)
	}
	limits.Memory = int64(memory)
	size, err := oci.ParseSize(c.String("cache-size"))
	if err != nil {
		return fmt.Errorf("--cache-size: %w", err)
	}
	files, names := splitOperands(c.Args().Slice())
	if c.Bool("all") || len(names) > 0 {
		if err := makeMountsPrivate(); err != nil {
			return err
		}
	}
	if _, err := compile.Build(); err != nil {
		return err
	}
	cache, err := codecache.Open(c.String("cache"), codecache.WithLimit(int64(size)))
	if err != nil {
		return err
	}
	defer cache.Close()
	p := &preparation{
		compiler: compile.Compiler{Limits: limits, Landlock: true},
		cache:    cache,
		out:      newReporter(c.App.Writer, c.App.ErrWriter, c.Bool("json")),
		all:      c.Bool("all"),
	}
	defer p.out.end()
	var list []images.Image
	if c.Bool("all") || len(names) > 0 {
		if p.daemon, err = dial(ctx, c); err != nil {
			return err
		}
		defer p.daemon.Close()
		if ctx, err = p.daemon.within(ctx, c.String("namespace")); err != nil {
			return err
		}
		if list, err = p.named(ctx, names); err != nil {
			return err
		}
	}
	p.out.total = len(files) + len(list)
	for _, path := range files {
		p.out.begin(path)
		p.file(ctx, path)
	}
	for _, img := range list {
		if ctx.Err() != nil {
			break
		}
		p.out.begin(img.Name)
		p.image(ctx, img)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.out.summary()
}

// splitOperands tells the files among the operands from names of images.
func splitOperands(args []string) (files, names []string) {
	for _, a := range args {
		if st, err := os.Stat(a); err == nil && !st.IsDir() {
			files = append(files, a)
		} else {
			names = append(names, a)
		}
	}
	return files, names
}

// named finds the images of these names, or all. One that is not there is told at
// once: it is a typing error.
func (p *preparation) named(ctx context.Context, names []string) ([]images.Image, error) {
	if p.all {
		return p.daemon.images(ctx)
	}
	var list []images.Image
	for _, name := range names {
		img, err := p.daemon.image(ctx, name)
		if err != nil {
			return nil, err
		}
		list = append(list, img)
	}
	return list, nil
}

func (p *preparation) file(ctx context.Context, path string) {
	f, err := openModule(path)
	if err != nil {
		p.out.tell(outcome{Image: path, State: failed, Message: err.Error()})
		return
	}
	defer f.Close()
	_ = p.module(ctx, "", compile.Module{Name: path, File: f})
}

func (p *preparation) image(ctx context.Context, img images.Image) {
	err := p.daemon.holding(ctx, func(ctx context.Context) error {
		return p.daemon.modules(ctx, p.cache, img, func(m compile.Module) error { return p.module(ctx, img.Name, m) })
	})
	if err == nil || ctx.Err() != nil {
		return
	}
	o := outcome{Image: img.Name, State: failed, Message: err.Error()}
	e, refused := errors.AsType[*control.Error](err)
	switch {
	case errors.Is(err, errNative):
		o.State = native
	case errors.Is(err, errNotUnpacked):
		o.State = skipped
	case p.all && refused && (e.Class == control.InvalidArgument || e.Class == control.NotFound):
		// Perhaps it is another runtime's.
		o.State = skipped
	}
	if !p.all && o.State == skipped {
		o.State = failed
	}
	p.out.tell(o)
}

// module compiles one, unless the cache has it. The error is one that concerns
// more than this module.
func (p *preparation) module(ctx context.Context, image string, m compile.Module) error {
	began := time.Now()
	p.out.compiling(m.Name)
	o := outcome{Image: image, Module: m.Name, State: cached}
	entry, compiled, err := p.compiler.Entry(ctx, p.cache, m)
	blamed, isModule := errors.AsType[*compile.ModuleError](err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case isModule:
		o.State, o.Message = failed, blamed.Error()
		if p.all {
			o.State = skipped
		}
	case err != nil:
		o.State, o.Message = failed, err.Error()
	default:
		o.Size, o.Digest = entry.Size(), fmt.Sprintf("sha256:%x", entry.Key().Module)
		if compiled {
			o.State, o.Seconds = done, time.Since(began).Seconds()
		}
		if !entry.Kept() {
			o.State, o.Message = failed, "the cache has no room for its code; raise --cache-size and the runtime option CacheSize"
		}
		if err := entry.Close(); err != nil {
			o.State, o.Message = failed, err.Error()
		}
	}
	p.out.tell(o)
	return nil
}
