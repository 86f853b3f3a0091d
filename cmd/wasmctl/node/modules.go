package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/oci/layers"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// errNative is the state of an image whose command is no module.
var errNative = errors.New("its command is native")

// modules calls use with each module of an image that a container of it may run:
// those that are layers, and what its command names in its root file system. ctx
// has a lease.
func (d *daemon) modules(ctx context.Context, cache *codecache.Cache, img images.Image, use func(compile.Module) error) error {
	read, err := layers.Read(ctx, d.ContentStore(), img.Target)
	if err != nil {
		return err
	}
	for _, m := range read.Modules {
		if err := d.layer(ctx, cache, m, use); err != nil {
			return err
		}
	}
	if !read.RootFS {
		return nil
	}
	err = d.withRootFS(ctx, img, func(root string, config ocispec.ImageConfig) error {
		target, err := commandOf(root, config)
		if err != nil {
			return err
		}
		defer target.Module.Close()
		return use(compile.Module{Name: target.Workload.Module, File: target.Module})
	})
	if len(read.Modules) > 0 && (errors.Is(err, errNative) || errors.Is(err, errNotUnpacked)) {
		return nil // a hybrid, whose command is in a layer
	}
	return err
}

// layer calls use with a module that is a layer. It is kept in the cache, as the
// shim keeps it.
func (d *daemon) layer(ctx context.Context, cache *codecache.Cache, m layers.Module, use func(compile.Module) error) error {
	digest, err := digestOf(m)
	if err != nil {
		return err
	}
	entry, err := cache.LookupOrMake(ctx, codecache.ModuleKey(digest), connectTimeout, func(draft *codecache.Draft) error {
		f, err := draft.CreateModule()
		if err != nil {
			return err
		}
		return errors.Join(m.CopyTo(ctx, f, d.ContentStore()), f.Close())
	})
	if err != nil {
		return err
	}
	f, err := entry.OpenModule()
	if err := errors.Join(err, entry.Close()); err != nil {
		return err
	}
	defer f.Close()
	name := m.Name
	if name == "" {
		name = fmt.Sprintf("layer %.19s", m.Digest)
	}
	return use(compile.Module{Name: name, File: f, Digest: &digest})
}

func digestOf(m layers.Module) (digest [32]byte, _ error) {
	if n, err := hex.Decode(digest[:], []byte(m.Digest.Encoded())); err != nil || n != len(digest) {
		return digest, fmt.Errorf("%s has the digest %s, which is no SHA-256; push the image again", m, m.Digest)
	}
	return digest, nil
}

// commandOf returns what a container runs whose command the image's config says.
// The caller closes its module.
func commandOf(root string, config ocispec.ImageConfig) (*oci.Target, error) {
	cwd := config.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	args := append(append([]string{}, config.Entrypoint...), config.Cmd...)
	target, err := oci.Resolve(&specs.Spec{Process: &specs.Process{Args: args, Env: config.Env, Cwd: cwd}}, root)
	if err != nil {
		return nil, err
	}
	if target.Kind == oci.Native {
		return nil, errNative
	}
	return target, nil
}

// openModule opens a file that is said to be a module.
func openModule(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file; name a module", path)
	}
	if err == nil {
		err = oci.CheckModule(path, f, st.Size())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
