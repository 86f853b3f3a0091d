package image

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/oci/layers"
)

// Module is the module of an image.
type Module struct {
	// Name is its path in the image, or what its layer is called.
	Name string
	// Export is the function to call; empty for _start.
	Export string
	// Layer tells that it is a layer of its own.
	Layer bool
	// File holds it, at offset 0. The caller closes it.
	File *os.File
}

// Module returns what a container of the image would run, or why there is nothing
// to run. A command replaces the image's own, as a Pod's does.
//
// It is looked up as when a container is created, by the same code: in the layers
// of the root file system, which are unpacked into a temporary directory, and
// among the layers that are modules.
func (img *Opened) Module(ctx context.Context, command ...string) (m Module, err error) {
	root, err := os.MkdirTemp("", "wasm-image-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(root)
	process := &specs.Process{Args: command, Cwd: "/"}
	if img.config != nil {
		c := img.config.Config
		process.Env = c.Env
		if c.WorkingDir != "" {
			process.Cwd = c.WorkingDir
		}
		if len(command) == 0 {
			process.Args = slices.Concat(c.Entrypoint, c.Cmd)
		}
		u := unpacker{root: root}
		for _, l := range img.manifest.Layers {
			if !isTar(l.MediaType) {
				continue
			}
			if err := img.unpack(ctx, &u, l); err != nil {
				return m, fmt.Errorf("unpack layer %s: %w", l.Digest, err)
			}
		}
	}
	find := func(readings []string, wanted bool) (*oci.Layer, error) { return img.layer(ctx, readings, wanted) }
	target, err := oci.Resolve(&specs.Spec{Process: process}, root, oci.WithLayers(find))
	if err != nil {
		return m, err
	}
	if target.Kind != oci.Wasm {
		return m, control.Errorf(control.NotFound, "the command %q names no WebAssembly module: a container of this image is native, and runc runs it", strings.Join(process.Args, " "))
	}
	return Module{Name: target.Workload.Module, Export: target.Workload.Export, Layer: target.Digest != nil, File: target.Module}, nil
}

// layer is the oci.FindLayer of the image.
func (img *Opened) layer(ctx context.Context, readings []string, wanted bool) (*oci.Layer, error) {
	p := provider{img.source}
	read, err := layers.Read(ctx, p, specDescriptor(img.target))
	if err != nil {
		return nil, err
	}
	if len(read.Modules) == 0 {
		return nil, nil
	}
	chosen, reading, err := read.Choose(readings...)
	// As the shim does: the root file system may get the file from a mount.
	if read.RootFS && !wanted && (err != nil || chosen.Name == "") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &oci.Layer{Name: chosen.Name, Reading: reading}
	if l.Name == "" {
		l.Name = fmt.Sprintf("layer %.19s", chosen.Digest)
	}
	b, err := fillBlob(types.MediaType(chosen.MediaType), func(w io.Writer) error { return chosen.CopyTo(ctx, w, p) })
	if err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(b.Digest.Hex)
	if err == nil {
		_, err = b.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	l.File, l.Digest = b.file, [sha256.Size]byte(sum)
	return l, nil
}

func isTar(t types.MediaType) bool {
	switch t {
	case types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer, types.DockerLayer, types.DockerUncompressedLayer:
		return true
	}
	return false
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

// specDescriptor converts what libraries write each in a type of its own.
func specDescriptor(d v1.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}
}
