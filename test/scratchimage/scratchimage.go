// Package scratchimage writes small OCI images by hand, in the shapes that
// builders produce and in shapes that they should not, for tests of what
// containerd and the shim make of them.
package scratchimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// Image is an image with one layer.
type Image struct {
	Ref string
	// Files maps absolute paths in the image to contents. A path that ends in a
	// slash is a directory. All files are executable.
	Files map[string][]byte
	// Entrypoint, Cmd, Env, User and WorkingDir go to the config as they are.
	Entrypoint, Cmd, Env []string
	User, WorkingDir     string
	// OS and Architecture default to those of a Linux image for this machine.
	OS, Architecture string
}

// Write writes the image as an OCI layout in a tar, as `ctr images import`
// reads it.
func (img Image) Write(file string) error {
	layer, err := img.layer()
	if err != nil {
		return err
	}
	if img.OS == "" {
		img.OS, img.Architecture = "linux", runtime.GOARCH
	}
	platform := map[string]string{"os": img.OS, "architecture": img.Architecture}
	config := mustMarshal(map[string]any{
		"os": img.OS, "architecture": img.Architecture,
		"config": map[string]any{
			"Entrypoint": img.Entrypoint, "Cmd": img.Cmd, "Env": img.Env,
			"User": img.User, "WorkingDir": img.WorkingDir,
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	manifest := mustMarshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers":        []any{descriptor("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	entry := descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
	entry["platform"] = platform
	entry["annotations"] = map[string]string{"io.containerd.image.name": img.Ref}
	index := mustMarshal(map[string]any{"schemaVersion": 2, "manifests": []any{entry}})

	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = writeTar(f, map[string][]byte{
		"oci-layout":    []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json":    index,
		blob(layer):     layer,
		blob(config):    config,
		blob(manifest):  manifest,
		"blobs/sha256/": nil,
	})
	if err != nil {
		return err
	}
	return f.Close()
}

func (img Image) layer() ([]byte, error) {
	files := map[string][]byte{}
	for name, content := range img.Files {
		name = strings.TrimPrefix(name, "/")
		files[name] = content
		for dir := path.Dir(strings.TrimSuffix(name, "/")); dir != "."; dir = path.Dir(dir) {
			files[dir+"/"] = nil
		}
	}
	var b bytes.Buffer
	err := writeTar(&b, files)
	return b.Bytes(), err
}

// writeTar writes parents before what they hold, by the order of their names.
func writeTar(w io.Writer, files map[string][]byte) error {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	t := tar.NewWriter(w)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Size = tar.TypeDir, 0
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(files[name][:h.Size]); err != nil {
			return err
		}
	}
	return t.Close()
}

func descriptor(mediaType string, content []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest(content), "size": len(content)}
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func blob(b []byte) string { return fmt.Sprintf("blobs/sha256/%x", sha256.Sum256(b)) }

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings marshal
	}
	return b
}
