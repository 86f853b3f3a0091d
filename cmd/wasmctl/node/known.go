package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/oci/layers"
)

// digests are those of modules.
type digests map[[sha256.Size]byte]bool

// knownModules returns the digests of all modules in all images of all namespaces.
// An image that is not unpacked, and one that no runtime of Wasm has anything to do
// with, has none; any other that cannot be read is an error.
func (d *daemon) knownModules(ctx context.Context) (digests, error) {
	known := digests{}
	all, err := d.NamespaceService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask containerd for its namespaces: %w", err)
	}
	seen := map[string]bool{}
	for _, ns := range all {
		within := namespaces.WithNamespace(ctx, ns)
		list, err := d.images(within)
		if err != nil {
			return nil, err
		}
		for _, img := range list {
			if seen[img.Target.Digest.String()] && ctx.Err() == nil {
				continue
			}
			err := d.holding(within, func(ctx context.Context) error { return d.collect(ctx, img, known) })
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				return nil, fmt.Errorf("image %s: %w; nothing was removed", img.Name, err)
			}
			seen[img.Target.Digest.String()] = true
		}
	}
	return known, nil
}

// collect adds the digests of an image's modules: the layers, and every file of its
// root file system, since a container may run any of them.
func (d *daemon) collect(ctx context.Context, img images.Image, known digests) error {
	read, err := layers.Read(ctx, d.ContentStore(), img.Target)
	if e, ok := errors.AsType[*control.Error](err); ok && (e.Class == control.InvalidArgument || e.Class == control.NotFound) {
		return nil // no container of this runtime comes of it
	}
	if err != nil {
		return err
	}
	for _, m := range read.Modules {
		digest, err := digestOf(m)
		if err != nil {
			return err
		}
		known[digest] = true
	}
	if !read.RootFS {
		return nil
	}
	err = d.withRootFS(ctx, img, func(root string, _ ocispec.ImageConfig) error { return collectFiles(ctx, root, known) })
	if errors.Is(err, errNotUnpacked) {
		return nil
	}
	return err
}

// collectFiles adds the digests of the modules below a directory.
func collectFiles(ctx context.Context, dir string, known digests) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return collectFile(f, known)
	})
}

func collectFile(f *os.File, known digests) error {
	st, err := f.Stat()
	if err != nil || oci.CheckModule(f.Name(), f, st.Size()) != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, oci.MaxModuleSize)); err != nil {
		return err
	}
	known[[sha256.Size]byte(h.Sum(nil))] = true
	return nil
}
