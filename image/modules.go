package image

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// Module is a module of an image.
type Module struct {
	// Name is its path in the image, or what its layer calls it.
	Name string
	// Export is the function to call; empty for _start.
	Export string
	// Layer is the media type of the layer that it is; empty when it is a file.
	Layer types.MediaType
	// File holds it, at offset 0. The caller closes it.
	File *os.File
}

// moduleLayers are the media types of layers that are modules: CNCF's, and those
// of the tools before it.
var moduleLayers = []types.MediaType{
	wasmLayer,
	"application/vnd.wasm.content.layer.v1+wasm",
	"application/vnd.w3c.wasm.module.v1+wasm",
	"application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
}

// Modules returns what a container of the image would run: the file that its
// command names, or the layers that are modules. Without either it says why.
//
// The file is looked up as when a container is created, in the image's layers
// unpacked in a temporary directory.
func (img *Opened) Modules(ctx context.Context) ([]Module, error) {
	var layers []v1.Descriptor
	tars := 0
	for _, l := range img.manifest.Layers {
		switch {
		case slices.Contains(moduleLayers, l.MediaType):
			layers = append(layers, l)
		case isTar(l.MediaType):
			tars++
		}
	}
	var missing error
	if tars > 0 && img.config != nil {
		m, err := img.command(ctx)
		if err == nil {
			return []Module{m}, nil
		}
		if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.NotFound {
			return nil, err
		}
		missing = err
	}
	if len(layers) == 0 {
		if missing == nil {
			missing = fmt.Errorf("the image has no layer with a module: neither a tar with the module of its command, nor one of the types %v", moduleLayers)
		}
		return nil, missing
	}
	return img.layerModules(ctx, layers)
}

func isTar(t types.MediaType) bool {
	switch t {
	case types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer, types.DockerLayer, types.DockerUncompressedLayer:
		return true
	}
	return false
}

// command finds the file that the image's command names.
func (img *Opened) command(ctx context.Context) (m Module, err error) {
	root, err := os.MkdirTemp("", "wasm-image-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(root)
	u := unpacker{root: root}
	for _, l := range img.manifest.Layers {
		if !isTar(l.MediaType) {
			continue
		}
		if err := img.unpack(ctx, &u, l); err != nil {
			return m, fmt.Errorf("unpack layer %s: %w", l.Digest, err)
		}
	}
	c := img.config.Config
	cwd := c.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	target, err := oci.Resolve(&specs.Spec{Process: &specs.Process{
		Args: slices.Concat(c.Entrypoint, c.Cmd), Env: c.Env, Cwd: cwd,
	}}, root)
	if err != nil {
		return m, err
	}
	if target.Kind != oci.Wasm {
		return m, control.Errorf(control.NotFound, "the image's command %q names no WebAssembly module: a container of it is native, and runc runs it", strings.Join(slices.Concat(c.Entrypoint, c.Cmd), " "))
	}
	return Module{Name: target.Workload.Module, Export: target.Workload.Export, File: target.Module}, nil
}

// unpack unpacks a layer.
func (img *Opened) unpack(ctx context.Context, u *unpacker, l v1.Descriptor) error {
	r, err := openVerified(ctx, img.source, l)
	if err != nil {
		return err
	}
	defer r.Close()
	plain := io.Reader(r)
	switch l.MediaType {
	case types.OCILayer, types.DockerLayer:
		if plain, err = gzip.NewReader(r); err != nil {
			return err
		}
	case types.OCILayerZStd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		plain = z
	}
	if err := u.apply(ctx, plain); err != nil {
		return err
	}
	// The digest is compared at the end, which a tar need not reach.
	_, err = io.Copy(io.Discard, r)
	return err
}

// maxWindow bounds the memory that zstd may ask for, in bytes; RFC 8878 tells
// decoders to support 8 MiB.
const maxWindow = 128 << 20

// layerModules copies layers that are modules.
func (img *Opened) layerModules(ctx context.Context, layers []v1.Descriptor) (_ []Module, err error) {
	var modules []Module
	defer func() {
		if err != nil {
			for _, m := range modules {
				m.File.Close()
			}
		}
	}()
	for _, l := range layers {
		name := l.Annotations[titleAnnotation]
		if name == "" {
			name = l.Digest.String()
		}
		if l.Size > oci.MaxModuleSize {
			return nil, fmt.Errorf("the layer %s has %d MiB, more than the %d MiB that a module may have", name, l.Size>>20, int64(oci.MaxModuleSize)>>20)
		}
		r, err := openVerified(ctx, img.source, l)
		if err != nil {
			return nil, err
		}
		b, err := fillBlob(l.MediaType, func(w io.Writer) error { _, err := io.Copy(w, r); return err })
		r.Close()
		if err != nil {
			return nil, err
		}
		modules = append(modules, Module{Name: name, Layer: l.MediaType, File: b.file})
		if _, err := b.file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return modules, nil
}
