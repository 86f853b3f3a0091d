package fetch

import (
	"context"
	"errors"
	"os"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/log"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/layerfile"
	"github.com/wasmshim/containerd-shim-wasm/oci/layers"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// file returns the module, open for reading: from the node's cache, which keeps it
// if it does not have it, or else from a file that ends with the descriptor.
func (d *daemon) file(ctx context.Context, r *layerfile.Request, module layers.Module, digest [32]byte) (*os.File, error) {
	f, err := d.kept(ctx, r, module, digest)
	if err == nil {
		return f, nil
	}
	if e, ok := errors.AsType[*control.Error](err); ok && e.Class != control.Unavailable {
		return nil, err // the module's fault
	}
	log.G(ctx).WithError(err).WithField("cache", r.CacheDir).Warn("a module from a layer is not kept: it is read at every start")
	return d.unnamed(ctx, r.Dir, module)
}

func (d *daemon) kept(ctx context.Context, r *layerfile.Request, module layers.Module, digest [32]byte) (*os.File, error) {
	cache, err := codecache.Open(r.CacheDir, codecache.WithLimit(r.CacheSize), codecache.WithDamageReport(func(damage *codecache.DamageError) {
		log.G(ctx).WithError(damage).Warn("a kept module is read again")
	}))
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	entry, err := cache.LookupOrMake(ctx, codecache.ModuleKey(digest), timeLimit/2, func(draft *codecache.Draft) error {
		f, err := draft.CreateModule()
		if err != nil {
			return err
		}
		return errors.Join(d.copy(ctx, f, module), f.Close())
	})
	if err != nil {
		return nil, err
	}
	f, err := entry.OpenModule()
	return f, errors.Join(err, entry.Close())
}

// unnamed copies the module into a file that has no name any more.
func (d *daemon) unnamed(ctx context.Context, dir string, module layers.Module) (*os.File, error) {
	w, err := os.CreateTemp(dir, "module-")
	if err != nil {
		return nil, control.Errorf(control.Unavailable, "keep %s: %w", module, err)
	}
	defer w.Close()
	// Opened again, since nobody shall write to what runs.
	f, err := os.Open(w.Name())
	err = errors.Join(err, os.Remove(w.Name()))
	if err == nil {
		err = d.copy(ctx, w, module)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// copy reads the layer under a lease: who removes the image now does not end that.
func (d *daemon) copy(ctx context.Context, w *os.File, module layers.Module) error {
	lease, err := d.leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(2*timeLimit))
	if err != nil {
		return control.Errorf(control.Unavailable, "take a lease of containerd's: %w", err)
	}
	defer func() {
		if err := d.leases.Delete(context.WithoutCancel(ctx), lease); err != nil {
			log.G(ctx).WithError(err).Warn("delete a lease, which expires")
		}
	}()
	if err := d.leases.AddResource(ctx, lease, leases.Resource{ID: module.Digest.String(), Type: "content"}); err != nil {
		return control.Errorf(control.Unavailable, "take a lease of %s: %w", module, err)
	}
	return module.CopyTo(ctx, w, d.content)
}
