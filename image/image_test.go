package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

const module = "\x00asm\x01\x00\x00\x00"

// writeModule writes a module with more bytes behind its header.
func writeModule(t testing.TB, more string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "input.wasm")
	if err := os.WriteFile(p, []byte(module+more), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// pack makes an image that lasts as long as the test.
func pack(t testing.TB, s Spec) *Image {
	t.Helper()
	img, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(img.Close)
	return img
}

func write(t testing.TB, s Spec) ([]byte, *Image) {
	t.Helper()
	img := pack(t, s)
	var b bytes.Buffer
	if err := img.WriteArchive(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), img
}

// unpack extracts an archive and reads it as an OCI image layout.
func unpack(t testing.TB, archive []byte) (dir string, top v1.ImageIndex) {
	t.Helper()
	dir = t.TempDir()
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(dir, filepath.FromSlash(hdr.Name))
		if hdr.Typeflag == tar.TypeDir {
			err = os.Mkdir(p, 0o755)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(p, data, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, top
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must2[T, U any](v T, u U, err error) (T, U) {
	if err != nil {
		panic(err)
	}
	return v, u
}

func TestTheShape(t *testing.T) {
	input := writeModule(t, "rest")
	epoch := time.Unix(1700000000, 999)
	archive, res := write(t, Spec{
		Name: "hello", Module: input, Args: []string{"-v"}, Env: []string{"A=1,2"}, Workdir: "/var/data/",
		Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "2"}, Epoch: epoch,
	})
	digest := sha256.Sum256([]byte(module + "rest"))
	moduleDigest := "sha256:" + hex.EncodeToString(digest[:])
	if res.Name.String() != "docker.io/library/hello:latest" || res.Module.String() != moduleDigest {
		t.Errorf("result: %s of %s", res.Name, res.Module)
	}

	dir, top := unpack(t, archive)
	blobs := must(filepath.Glob(dir + "/blobs/sha256/*"))
	if len(blobs) != 6 {
		t.Errorf("%d blobs, want an index, two manifests, two configs and a layer", len(blobs))
	}
	for _, b := range blobs {
		if h, _ := must2(v1.SHA256(must(os.Open(b)))); h.Hex != filepath.Base(b) {
			t.Errorf("blob %s has the digest %s", filepath.Base(b), h)
		}
	}
	entries := must(top.IndexManifest()).Manifests
	if len(entries) != 1 || entries[0].MediaType != types.OCIImageIndex || entries[0].Digest != res.Digest() {
		t.Fatalf("index.json: %+v", entries)
	}
	if want := map[string]string{
		"io.containerd.image.name": "docker.io/library/hello:latest", "org.opencontainers.image.ref.name": "latest",
	}; !reflect.DeepEqual(entries[0].Annotations, want) {
		t.Errorf("index.json is annotated %v, want %v", entries[0].Annotations, want)
	}

	index := must(top.ImageIndex(res.Digest()))
	im := must(index.IndexManifest())
	if im.MediaType != types.OCIImageIndex || !reflect.DeepEqual(im.Annotations, map[string]string{"a": "2"}) {
		t.Errorf("index: %+v", im)
	}
	var platforms []string
	configs, layers := map[v1.Hash]bool{}, map[v1.Hash]bool{}
	for _, d := range im.Manifests {
		platforms = append(platforms, d.Platform.String())
		img := must(index.Image(d.Digest))
		m := must(img.Manifest())
		if m.MediaType != types.OCIManifestSchema1 || m.Config.MediaType != types.OCIConfigJSON ||
			len(m.Layers) != 1 || m.Layers[0].MediaType != types.OCILayer || m.Annotations["a"] != "2" {
			t.Errorf("manifest of %s: %+v", d.Platform, m)
		}
		configs[m.Config.Digest], layers[m.Layers[0].Digest] = true, true
		if h, _ := must2(v1.SHA256(must(must(img.Layers())[0].Uncompressed()))); h != must(img.ConfigFile()).RootFS.DiffIDs[0] {
			t.Errorf("the diff ID of %s is not the digest of the tar, %s", d.Platform, h)
		}

		cf := must(img.ConfigFile())
		if cf.OS != d.Platform.OS || cf.Architecture != d.Platform.Architecture || cf.Created.Unix() != 1700000000 {
			t.Errorf("config of %s: %+v", d.Platform, cf)
		}
		if want := (v1.Config{
			Entrypoint: []string{"/app.wasm"}, Cmd: []string{"-v"}, Env: []string{"A=1,2"}, WorkingDir: "/var/data",
			Labels: map[string]string{"l": "1", DigestLabel: moduleDigest},
		}); !reflect.DeepEqual(cf.Config, want) {
			t.Errorf("got  %+v\nwant %+v", cf.Config, want)
		}
	}
	if !reflect.DeepEqual(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms: %v", platforms)
	}
	if len(configs) != 2 || len(layers) != 1 {
		t.Errorf("%d configs and %d layers, want 2 and 1", len(configs), len(layers))
	}
}

// list returns "mode owner time path content" of each entry of the layer.
func list(t *testing.T, archive []byte, res *Image) []string {
	t.Helper()
	_, top := unpack(t, archive)
	index := must(top.ImageIndex(res.Digest()))
	img := must(index.Image(must(index.IndexManifest()).Manifests[0].Digest))
	rc := must(must(img.Layers())[0].Uncompressed())
	defer rc.Close()
	var out []string
	for r := tar.NewReader(rc); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if hdr.Uid != 0 || hdr.Gid != 0 || hdr.Uname != "" || hdr.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d:%d %q, time %v", hdr.Name, hdr.Uid, hdr.Gid, hdr.Uname, hdr.ModTime)
		}
		data := string(must(io.ReadAll(r)))
		if hdr.Typeflag == tar.TypeSymlink {
			data = "->" + hdr.Linkname
		}
		out = append(out, strings.TrimSpace(hdr.FileInfo().Mode().String()+" "+hdr.Name+" "+data))
	}
}

func TestTheLayer(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"site/index.html": 0o600, "site/run": 0o700, "one": 0o640} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(filepath.Base(p)), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("index.html", filepath.Join(dir, "site/default")); err != nil {
		t.Fatal(err)
	}
	archive, res := write(t, Spec{
		Name: "app", Module: writeModule(t, ""), Workdir: "/var/data", Epoch: time.Unix(0, 0),
		Files: []File{{dir + "/site", "/srv/site/"}, {dir + "/one", "/srv/site/one"}, {dir + "/one", "/etc/a.conf"}},
	})
	got := list(t, archive, res)
	want := []string{
		"-rwxr-xr-x app.wasm " + module,
		"drwxr-xr-x etc/",
		"-rw-r--r-- etc/a.conf one",
		"drwxr-xr-x srv/",
		"drwxr-xr-x srv/site/",
		"Lrwxrwxrwx srv/site/default ->index.html",
		"-rw-r--r-- srv/site/index.html index.html",
		"-rw-r--r-- srv/site/one one",
		"-rwxr-xr-x srv/site/run run",
		"drwxr-xr-x var/",
		"drwxr-xr-x var/data/",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheSameInputsGiveTheSameBytes(t *testing.T) {
	data := t.TempDir()
	for _, n := range []string{"b", "a", "c"} {
		if err := os.WriteFile(filepath.Join(data, n), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packed := func() []byte {
		archive, _ := write(t, Spec{
			Name: "app", Module: writeModule(t, strings.Repeat("x", 1<<20)), Epoch: time.Unix(0, 0),
			Labels: map[string]string{"a": "1", "b": "2", "c": "3"}, Annotations: map[string]string{"a": "1", "b": "2"},
			Files: []File{{data, "/data"}},
		})
		return archive
	}
	first := packed()
	later := time.Now().Add(time.Hour)
	if err := errors.Join(os.Chmod(data+"/a", 0o644), os.Chtimes(data+"/a", later, later)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, packed()) {
		t.Error("two archives of the same inputs differ")
	}
}

func TestImagesOfDifferentModulesHaveDifferentConfigs(t *testing.T) {
	configs := map[v1.Hash]bool{}
	for _, more := range []string{"a", "b"} {
		archive, res := write(t, Spec{Name: "app", Module: writeModule(t, more)})
		_, top := unpack(t, archive)
		index := must(top.ImageIndex(res.Digest()))
		for _, d := range must(index.IndexManifest()).Manifests {
			configs[must(must(index.Image(d.Digest)).ConfigName())] = true
		}
	}
	if len(configs) != 4 {
		t.Errorf("%d configs of two modules on two platforms, want 4", len(configs))
	}
}

// TestDockersClassicStoreReadsIt stands for everything that reads manifest.json.
func TestDockersClassicStoreReadsIt(t *testing.T) {
	archive, _ := write(t, Spec{Name: "acme/app:v1", Module: writeModule(t, "")})
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cf := must(img.ConfigFile()); cf.Architecture != "amd64" || cf.Config.Entrypoint[0] != "/app.wasm" {
		t.Errorf("config: %+v", cf)
	}
	if h, _ := must2(v1.SHA256(must(must(img.Layers())[0].Uncompressed()))); h != must(img.ConfigFile()).RootFS.DiffIDs[0] {
		t.Errorf("the diff ID is not the digest of the tar, %s", h)
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ name, full, fails string }{
		{name: "app", full: "docker.io/library/app:latest"},
		{name: "app:v1", full: "docker.io/library/app:v1"},
		{name: "acme/app", full: "docker.io/acme/app:latest"},
		{name: "docker.io/app", full: "docker.io/library/app:latest"},
		{name: "index.docker.io/library/app:1", full: "docker.io/library/app:1"},
		{name: "localhost:5000/app:v1", full: "localhost:5000/app:v1"},
		{name: "ghcr.io/acme/app", full: "ghcr.io/acme/app:latest"},
		{name: "", fails: "needs a name"},
		{name: "App", fails: "must be lowercase"},
		{name: "app:v 1", fails: "invalid reference format"},
		{name: "app@sha256:" + strings.Repeat("0", 64), fails: "has a digest"},
	} {
		ref, err := parseName(tt.name)
		switch {
		case tt.fails != "":
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%q: got %v, want an error with %q", tt.name, err, tt.fails)
			}
		case err != nil:
			t.Errorf("%q: %v", tt.name, err)
		case ref.String() != tt.full:
			t.Errorf("%q: got %s, want %s", tt.name, ref, tt.full)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	ok := writeModule(t, "")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	component := filepath.Join(dir, "component.wasm")
	if err := os.WriteFile(component, []byte("\x00asm\x0d\x00\x01\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		spec Spec
		want string
	}{
		{"a relative workdir", Spec{Module: ok, Workdir: "data"}, `working directory "data" is not absolute`},
		{"its own label", Spec{Module: ok, Labels: map[string]string{DigestLabel: "x"}}, "set by the packer"},
		{"a platform twice", Spec{Module: ok, Platforms: []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "amd64"}}}, "given twice"},
		{"half a platform", Spec{Module: ok, Platforms: []v1.Platform{{OS: "linux"}}}, "not of the form OS/ARCHITECTURE"},
		{"a bad variable", Spec{Module: ok, Env: []string{"=1"}}, "not of the form NAME=VALUE"},
		{"a file for a relative path", Spec{Module: ok, Files: []File{{dir, "x"}}}, "not the absolute path"},
		{"a file for the root", Spec{Module: ok, Files: []File{{dir, "/."}}}, "not the absolute path"},
		{"a file over the module", Spec{Module: ok, Files: []File{{dir + "/f", "/app.wasm"}}}, "/app.wasm is given twice"},
		{"a file below the module", Spec{Module: ok, Files: []File{{dir + "/f", "/app.wasm/f"}}}, "/app.wasm is a file of the image"},
		{"a workdir that is a file", Spec{Module: ok, Workdir: "/app.wasm"}, "/app.wasm is a file of the image"},
		{"a file that is not there", Spec{Module: ok, Files: []File{{dir + "/gone", "/f"}}}, "no such file"},
		{"a device", Spec{Module: ok, Files: []File{{"/dev/null", "/f"}}}, "cannot go into an image"},
		{"a directory as the module", Spec{Module: dir}, "is not a regular file"},
		{"a component", Spec{Module: component}, "is a WebAssembly component"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Name = "app"
			_, err := Pack(tt.spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	_, err := Pack(Spec{Name: "app", Module: component})
	if e, isControl := errors.AsType[*control.Error](err); !isControl || e.Class != control.InvalidArgument {
		t.Errorf("%v is not a *control.Error of the class of the runtime's", err)
	}
}

// TestAFullDiskIsAnError covers the write side.
func TestAFullDiskIsAnError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	if err := pack(t, Spec{Name: "app", Module: writeModule(t, "")}).WriteArchive(full); err == nil {
		t.Error("no error")
	}
}
