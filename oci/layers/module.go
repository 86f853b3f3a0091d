package layers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// Module is one layer that is a WebAssembly binary.
type Module struct {
	ocispec.Descriptor
	// Name is what the image calls it, most often a path; empty if it does not.
	Name string
}

// String names the module for messages.
func (m Module) String() string {
	if m.Name == "" {
		return fmt.Sprintf("layer %s", m.Digest)
	}
	return quote(m.Name)
}

// SHA256 is the module's digest.
//
// Errors: control.InvalidArgument when it is none of that kind.
func (m Module) SHA256() (sum [sha256.Size]byte, _ error) {
	if err := checkDigest(m.Digest, "layer"); err != nil {
		return sum, err
	}
	_, err := hex.Decode(sum[:], []byte(m.Digest.Encoded()))
	return sum, err
}

// nameOf returns the name of a layer.
func nameOf(l ocispec.Descriptor) string { return l.Annotations[ocispec.AnnotationTitle] }

// quote shortens what comes from outside and shows what is invisible.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// Choose returns the module that a command means, and by which of its readings:
// "app.wasm#run" reads as a name, and as "app.wasm" with an export. A name means
// the module of that title, of that base name, or of that base name without
// ".wasm", in this order. Without a reading it is the only module.
//
// An only module without a name is meant by every command, read as its absence
// would be told: the second reading, if there is one.
//
// Errors: control.NotFound when no module is meant, control.InvalidArgument when
// several are.
func (i *Image) Choose(readings ...string) (Module, int, error) {
	if len(i.Modules) == 0 {
		return Module{}, 0, control.Errorf(control.NotFound, "image %s has no Wasm module as a layer; push the module as application/wasm, or copy it into the root file system", i.Manifest)
	}
	if len(readings) == 0 {
		if len(i.Modules) > 1 {
			return Module{}, 0, control.Errorf(control.InvalidArgument,
				"the container has neither an entrypoint nor a command, and its image several modules: %s; set the command to one of them", i.list())
		}
		return i.Modules[0], 0, nil
	}
	meant, by := Module{}, -1
	for r, name := range readings {
		m, err := i.named(name)
		switch {
		case err != nil:
			return Module{}, 0, err
		case m == nil:
		case by >= 0 && meant.Digest != m.Digest:
			return Module{}, 0, control.Errorf(control.InvalidArgument,
				"args[0] %s has two candidates among the image's modules: %s, and %s; rename one of them", quote(readings[0]), meant, m)
		case by < 0:
			meant, by = *m, r
		}
	}
	switch {
	case by >= 0:
		return meant, by, nil
	case len(i.Modules) == 1 && i.Modules[0].Name == "":
		return i.Modules[0], min(1, len(readings)-1), nil
	}
	return Module{}, 0, control.Errorf(control.NotFound,
		"args[0] %s is neither in the root file system nor one of the image's modules: %s; set the command to one of them", quote(readings[0]), i.list())
}

// named returns the module that the name means, or nil.
func (i *Image) named(name string) (*Module, error) {
	base := path.Base(path.Clean("/" + name))
	for _, means := range []func(m Module) bool{
		func(m Module) bool { return m.Name == name },
		func(m Module) bool { return path.Base(m.Name) == base },
		func(m Module) bool {
			return strings.TrimSuffix(path.Base(m.Name), ".wasm") == strings.TrimSuffix(base, ".wasm")
		},
	} {
		var found *Module
		for _, m := range i.Modules {
			switch {
			case m.Name == "" || !means(m):
			case found != nil && found.Digest != m.Digest:
				return nil, control.Errorf(control.InvalidArgument,
					"args[0] %s means several of the image's modules: %s, and %s; use the whole name of one, or give them different names", quote(name), found, m)
			case found == nil:
				found = &m
			}
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, nil
}

// list is the modules for a message.
func (i *Image) list() string {
	const most = 8
	var names []string
	for _, m := range i.Modules[:min(len(i.Modules), most)] {
		names = append(names, m.String())
	}
	if len(i.Modules) > most {
		names = append(names, "and more")
	}
	return strings.Join(names, ", ")
}

// CopyTo writes the module to w. What was written is the module only if there is
// no error: its digest is known at the end.
//
// Errors: control.NotFound when the layer is not on this node,
// control.InvalidArgument when its first bytes, which are looked at before
// anything is written, are not those of a core module that can be run here.
func (m Module) CopyTo(ctx context.Context, w io.Writer, provider content.Provider) error {
	ra, err := m.open(ctx, provider)
	if err != nil {
		return err
	}
	defer ra.Close()
	if err := oci.CheckModule(m.String(), ra, ra.Size()); err != nil {
		return err
	}
	verifier := m.Digest.Verifier()
	// containerd answers with as many bytes as are asked for.
	buf := make([]byte, min(ra.Size(), 1<<20))
	n, err := io.CopyBuffer(onlyWriter{io.MultiWriter(w, verifier)}, onlyReader{io.NewSectionReader(ra, 0, ra.Size())}, buf)
	switch {
	case err != nil:
		return control.Errorf(control.Unavailable, "read %s of the image: %w", m, err)
	case n != ra.Size() || !verifier.Verified():
		return control.Errorf(control.InvalidArgument, "%s of the image was damaged, its content has another digest than %s; remove the image and pull it again", m, m.Digest)
	}
	return nil
}

// open opens the layer, whose size must be that of its descriptor.
func (m Module) open(ctx context.Context, provider content.Provider) (content.ReaderAt, error) {
	ra, err := open(ctx, provider, m.Descriptor, "layer")
	if err != nil {
		return nil, err
	}
	if ra.Size() != m.Size {
		ra.Close()
		return nil, control.Errorf(control.InvalidArgument, "%s of the image has %d bytes, and its manifest says %d; push the image again", m, ra.Size(), m.Size)
	}
	return ra, nil
}

// Digests are those of the modules, sorted: two images with equal ones run alike.
func (i *Image) Digests() []digest.Digest {
	var all []digest.Digest
	for _, m := range i.Modules {
		all = append(all, m.Digest)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// onlyWriter and onlyReader keep io.CopyBuffer from bypassing its buffer.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }
