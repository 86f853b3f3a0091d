// Command image builds the installer's image from the built programs: a single layer
// on nothing, the same bytes for the same programs. Its result is a tar for
// `docker load`, `ctr images import` and `kind load image-archive`, or is pushed.
//
//	image -bin DIR [-tag NAME] [-o FILE] [-push]
package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/wasmshim/containerd-shim-wasm/internal/version"
)

// programs are what the image holds. The installer finds the others beside itself.
var programs = []string{"containerd-shim-wasm-v1", "wasm-fetch", "wasm-node-installer", "wasm-runner"}

func main() {
	bin := flag.String("bin", "bin", "directory of the built programs")
	tag := flag.String("tag", "localhost/wasm-node-installer:dev", "name of the image")
	out := flag.String("o", "", "file of the tar (default: wasm-node-installer.tar in the directory of the programs)")
	push := flag.Bool("push", false, "push it instead, with the credentials of `docker login`")
	flag.Parse()
	if *out == "" {
		*out = filepath.Join(*bin, "wasm-node-installer.tar")
	}
	if err := run(*bin, *tag, *out, *push); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(bin, tag, out string, push bool) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	img, err := build(bin)
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	if push {
		if err := remote.Write(ref, img, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
		out = ref.String()
	} else if err := tarball.WriteToFile(out, ref, img); err != nil {
		return err
	}
	fmt.Printf("%s@%s\n%s\n", ref, digest, out)
	return nil
}

// build returns the image of the programs in a directory.
func build(bin string) (v1.Image, error) {
	layer, arch, err := newLayer(bin)
	if err != nil {
		return nil, err
	}
	epoch := v1.Time{Time: time.Unix(0, 0).UTC()}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{Created: epoch, CreatedBy: "deploy/image"}})
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Created = "linux", arch, epoch
	cf.Config = v1.Config{
		Entrypoint: []string{"/wasm-node-installer"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "wasm-node-installer",
			"org.opencontainers.image.version":  version.Version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(img, cf)
}

// newLayer returns the programs as a layer, and their architecture in Go's words.
func newLayer(bin string) (_ v1.Layer, arch string, _ error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, program := range programs {
		path := filepath.Join(bin, program)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, "", fmt.Errorf("%w; run `make build` first", err)
		}
		a, err := architecture(text)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", path, err)
		}
		if arch != "" && a != arch {
			return nil, "", fmt.Errorf("%s is for %s, the other programs for %s; build them together", path, a, arch)
		}
		arch = a
		if err := addFile(w, program, text); err != nil {
			return nil, "", err
		}
	}
	if err := errors.Join(addFile(w, helloName, hello()), w.Close()); err != nil {
		return nil, "", err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	return layer, arch, err
}

func addFile(w *tar.Writer, name string, text []byte) error {
	err := w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(text)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// architecture is that of a static program, in Go's words. A dynamic one would not
// run in the image.
func architecture(program []byte) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return "", fmt.Errorf("is no program: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("is not static; build it with CGO_ENABLED=0")
		}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("is for %v, which the project is not built for", f.Machine)
}
