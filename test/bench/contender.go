package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	runc "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// contender is one way to run a program.
type contender struct {
	name    string
	runtime string
	// image is the contender whose images it runs.
	image string
	// binary is what containerd-shim-runc-v2 executes instead of runc.
	binary string
	// pack writes an image of a program of that name to a tar.
	pack func(ctx context.Context, b *bench, program, ref, tar string) error
}

// contenders are the two ways that every comparison has; figures list them in this
// order.
var contenders = []contender{
	{name: wasm, runtime: "io.containerd.wasm.v1", image: wasm, pack: packGuest},
	{name: native, runtime: "io.containerd.runc.v2", image: native, pack: packNative},
}

// crun is a faster runc, in C; the shim that executes it is the same.
const crun = "crun"

// probe finds out which other ways there are to run the same images here: b.all are
// they and the contenders, and b.absent says why others are not among them.
func (b *bench) probe(ctx context.Context) error {
	b.all = contenders[:len(contenders):len(contenders)]
	binary, err := b.store.Crun(ctx)
	if err != nil {
		b.absent = append(b.absent, fmt.Sprintf("%s (%v)", crun, err))
		return nil
	}
	c := contender{name: crun, runtime: "io.containerd.runc.v2", image: native, binary: binary}
	return b.withDaemon(ctx, []string{"hello-c"}, func(d *daemon.Daemon) error {
		r, err := c.start(ctx, d, "hello-c", nil, newSignalWriter())
		if err == nil {
			err = errors.Join(r.ended(ctx), r.remove(context.WithoutCancel(ctx)))
		}
		if err == nil {
			b.all = append(b.all, c)
		} else if ctx.Err() == nil {
			_, reason, found := strings.Cut(err.Error(), "OCI runtime create failed: ")
			if !found {
				reason = err.Error()
			}
			b.absent = append(b.absent, fmt.Sprintf("%s (%q)", crun, reason))
			return nil
		}
		return err
	})
}

// names are those of the contenders of every comparison.
func names() []string { return namesOf(contenders) }

func namesOf(some []contender) (all []string) {
	for _, c := range some {
		all = append(all, c.name)
	}
	return all
}

// ref is the name of the image of a program.
func (c *contender) ref(program string) string { return "localhost/" + program + "-" + c.image + ":1" }

// options are those of the runtime, as containerd's client takes them.
func (c *contender) options() any {
	if c.binary == "" {
		return nil
	}
	return &runc.Options{BinaryName: c.binary}
}

// mostShares is the greatest weight of a cgroup: other work of the machine is to
// disturb as little as it can.
const mostShares = 262144

// spec is what all its containers have in their specs: the greatest weight, and a
// version that the runtime knows. Debian's crun refuses those after 1.0.
func (c *contender) spec() oci.SpecOpts {
	return func(ctx context.Context, client oci.Client, container *containers.Container, s *oci.Spec) error {
		if c.name == crun {
			s.Version = "1.0.2"
		}
		return oci.WithCPUShares(mostShares)(ctx, client, container, s)
	}
}

// program returns the path of a program as the contender runs it.
func (c *contender) program(ctx context.Context, b *bench, name string) (string, error) {
	if c.image == wasm {
		return b.store.Guest(ctx, name)
	}
	return b.store.Native(ctx, name)
}

func packGuest(ctx context.Context, b *bench, program, ref, tar string) error {
	guest, err := b.store.Guest(ctx, program)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(b.bin, "wasmctl"), "pack", guest, "-t", ref, "-o", tar).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wasmctl pack: %w\n%s", err, out)
	}
	return nil
}

func packNative(ctx context.Context, b *bench, program, ref, tar string) error {
	path, err := b.store.Native(ctx, program)
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return scratchimage.Image{Ref: ref, Files: map[string][]byte{"/program": binary}, Entrypoint: []string{"/program"}}.Write(tar)
}

// provision makes all that measurements need before the first of them, so that no
// measurement's time holds a build, and probes.
func (b *bench) provision(ctx context.Context) error {
	if _, err := b.store.Containerd(ctx, b.version); err != nil {
		return err
	}
	if _, err := b.store.Runc(ctx); err != nil {
		return err
	}
	for _, program := range []string{"hello-c", "hello-rust", "hello-go", "waits", "server", "blocks", "kernels"} {
		for _, c := range contenders {
			if _, err := c.program(ctx, b, program); err != nil {
				return err
			}
		}
	}
	for _, provide := range []func(context.Context) (string, error){b.store.Python, b.store.Pause, b.store.Plot} {
		if _, err := provide(ctx); err != nil {
			return err
		}
	}
	if _, err := b.store.Native(ctx, "load"); err != nil {
		return err
	}
	return b.probe(ctx)
}
