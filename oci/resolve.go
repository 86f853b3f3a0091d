package oci

import (
	"crypto/sha256"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Kind says what runs a container.
type Kind int

// Kinds of containers.
const (
	// Native is everything that is not known to be Wasm: it goes to runc,
	// which also reports what is wrong with it.
	Native Kind = iota
	// Wasm is a WebAssembly core module.
	Wasm
)

// Target is what the process of a spec turned out to be.
type Target struct {
	Kind Kind
	// Workload describes the guest; nil for Native.
	Workload *Workload
	// Module is the guest's binary, open for reading at offset 0 and
	// close-on-exec; nil for Native. The caller closes it.
	Module *os.File
	// Digest is the SHA-256 of Module if it is known without reading it.
	Digest *[sha256.Size]byte
}

// Option is an option of Resolve.
type Option func(*lookup)

// WithLayers lets Resolve ask find for modules that are layers of the image,
// beside its root file system.
func WithLayers(find FindLayer) Option { return func(l *lookup) { l.layer = find } }

// Resolve decides what args[0] of the spec is. rootfs is the absolute path of
// the container's root directory, mounted; the spec's own mounts are looked
// through without being mounted.
//
// The content decides, never the name: a file that starts with the Wasm magic
// is Wasm and needs no execute bit, everything else is Native. A Wasm marker
// among the annotations turns Native into a refusal. What is not in the tree, or
// not Wasm although a marker says so, may be a layer. See docs/images.md for the
// rules of the lookup.
//
// Every error is a *control.Error: NotFound when there is no file where
// something says Wasm, InvalidArgument when there is one that cannot be run
// (no module, a component, two candidates, too large) or when the process is
// malformed, Internal when the root directory cannot be read.
func Resolve(spec *specs.Spec, rootfs string, options ...Option) (*Target, error) {
	if spec.Process == nil {
		return nil, control.Errorf(control.InvalidArgument, "the OCI spec has no process; set process.args")
	}
	t, err := newTree(rootfs, spec.Mounts)
	if err != nil {
		return nil, err
	}
	defer t.close()
	t.makeCwd(spec.Process.Cwd)

	l := lookup{tree: t, process: spec.Process}
	for _, o := range options {
		o(&l)
	}
	if len(spec.Process.Args) == 0 {
		return l.withoutArgs()
	}
	arg0 := spec.Process.Args[0]
	return decide(l, arg0, markerOf(spec.Annotations, arg0))
}

// candidate is one way to read args[0].
type candidate struct {
	// path is args[0] without the fragment.
	path string
	// fragment: args[0] has the form path#export.
	fragment bool
	// export is what follows the #.
	export string
}

// maxFragments bounds the readings of an args[0] with many # in it.
const maxFragments = 8

// candidates returns the ways to read args[0]: as it is, and split at each #.
// A name of a file may hold a #, and so may that of an export (the canonical
// ABI of components names core exports like "wasi:cli/run@0.2.0#run").
func candidates(arg0 string) []candidate {
	cs := []candidate{{path: arg0}}
	for i := range len(arg0) {
		if arg0[i] == '#' && i > 0 && len(cs) <= maxFragments {
			cs = append(cs, candidate{path: arg0[:i], fragment: true, export: arg0[i+1:]})
		}
	}
	return cs
}

// hit is a candidate for which there is a file.
type hit struct {
	candidate
	*file
}

// String says what choosing the hit would run.
func (h hit) String() string {
	if !h.fragment {
		return "the file " + show(h.name)
	}
	return "the export " + show(h.export) + " of the file " + show(h.name)
}

// decide finds the files that arg0 may mean and chooses.
func decide(l lookup, arg0 string, mark marker) (target *Target, err error) {
	var hits []hit
	defer func() {
		for _, h := range hits {
			if target == nil || target.Module != h.file.File {
				h.file.Close()
			}
		}
	}()
	var missing error
	cands := candidates(arg0)
	for _, c := range cands {
		f, err := l.find(c.path)
		switch {
		case isAbsence(err):
			missing = moreTelling(missing, err)
		case err != nil:
			return nil, control.Errorf(control.Internal, "look up %s in the container's root: %w", show(c.path), err)
		default:
			hits = append(hits, hit{c, f})
		}
	}

	// What says that args[0] must be Wasm even when no content does: then the
	// sentence comes from here instead of a riddle from execve.
	wanted := mark.set() || strings.Contains(arg0, "#") || strings.HasSuffix(arg0, ".wasm")
	wasm := false
	for _, h := range hits {
		wasm = wasm || h.format.wasm
	}
	if len(hits) == 0 || mark.set() && !wasm {
		target, err := l.fromLayer(cands, wanted)
		if target != nil || err != nil && len(hits) == 0 {
			return target, err
		}
	}
	switch {
	case len(hits) == 0 && !wanted:
		return &Target{Kind: Native}, nil
	case len(hits) == 0:
		return nil, l.absence(cands[min(1, len(cands)-1)].path, missing)
	case len(hits) > 1 && !wasm && !mark.set():
		// Two native files, of which runc takes the one that is literally named.
		return &Target{Kind: Native}, nil
	case len(hits) > 1:
		return nil, control.Errorf(control.InvalidArgument,
			"args[0] %s has two candidates: %s, and %s; rename one of the files", show(arg0), hits[0], hits[1])
	}

	h := hits[0]
	switch {
	case h.format.wasm || h.fragment:
		return newTarget(l.process, h.candidate, h.file)
	case mark.set():
		return nil, control.Errorf(control.InvalidArgument,
			"%s is %s, not a WebAssembly module; %s, or remove the annotation %s to run it as native code",
			show(h.name), h.format.name, h.format.wayOut(), mark)
	default:
		return &Target{Kind: Native}, nil
	}
}

// newTarget checks the file and describes its guest.
func newTarget(p *specs.Process, c candidate, f *file) (*Target, error) {
	if err := f.format.check(show(f.name), f.size); err != nil {
		f.Close()
		return nil, err
	}
	if c.fragment && c.export == "" {
		f.Close()
		return nil, control.Errorf(control.InvalidArgument,
			"args[0] %s names no export after its #; write path#export, or the path alone to call _start", show(p.Args[0]))
	}
	w, err := newWorkload(p, c, f.name)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Target{Kind: Wasm, Workload: w, Module: f.File}, nil
}
