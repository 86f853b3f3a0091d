package clientsuite

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// contents is what a registry has: images by name, and all their blobs.
type contents struct {
	blobs map[string]blob   // by digest
	names map[string]string // digests by HOST/REPOSITORY:TAG
}

type blob struct {
	mediaType, digest string
	bytes             []byte
}

// find returns what a repository has under a tag or a digest. Blobs are those
// of all repositories.
func (c *contents) find(repository, reference string) (blob, bool) {
	digest := reference
	if !strings.Contains(reference, ":") {
		digest = c.names[repository+":"+reference]
	}
	b, ok := c.blobs[digest]
	return b, ok
}

// hosts are the registries that the images' names name.
func (c *contents) hosts() []string {
	var hosts []string
	for name := range c.names {
		host, _, _ := strings.Cut(name, "/")
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// file is an entry of a layer: a directory without content and link.
type file struct {
	name    string
	mode    int64
	content []byte
	link    string
}

// busybox is the image of nearly all containers of the suite.
const busybox = "ghcr.io/containerd/busybox"

// commands are what the suite calls in its containers.
var commands = []string{
	"[", "bash", "cat", "echo", "false", "hostname", "id", "nc", "seq", "sh", "sleep", "stty", "test", "top", "true",
}

// linux are platforms of the images: this machine's and three more, because the
// suite looks for some that it pulled and for one that it did not.
var linux = []string{"amd64", "arm64/v8", "ppc64le", "s390x"}

// suiteImages returns the images that the suite names. program is the content
// of the one program that is behind each of their commands, but for those that
// own has by name.
func suiteImages(program []byte, own map[string]string) *contents {
	c := &contents{blobs: map[string]blob{}, names: map[string]string{}}
	root := []file{
		{name: "bin/", mode: 0o755},
		{name: "bin/busybox", mode: 0o755, content: program},
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nsys:x:3:\nwww-data:x:33:\nbackup:x:34:\n")},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/root:/bin/sh\nsys:x:3:3:sys:/dev:/bin/false\n" +
			"www-data:x:33:33:www-data:/var/www:/bin/false\nbackup:x:34:34:backup:/var/backups:/bin/false\n")},
		{name: "dev/", mode: 0o755},
		{name: "proc/", mode: 0o755},
		{name: "root/", mode: 0o700},
		{name: "run/", mode: 0o755},
		{name: "sys/", mode: 0o755},
		{name: "tmp/", mode: 0o1777},
	}
	for _, name := range commands {
		f := file{name: "bin/" + name, link: "busybox"}
		if text, ok := own[name]; ok {
			f = file{name: f.name, mode: 0o755, content: []byte(text)}
		}
		root = append(root, f)
	}
	data := []file{{name: "data/", mode: 0o755}, {name: "data/file", mode: 0o644, content: []byte("data\n")}}
	more := []file{{name: "data/", mode: 0o755}, {name: "data/more", mode: 0o644, content: []byte("more\n")}}
	setuid := []file{
		{name: "usr/", mode: 0o755},
		{name: "usr/bin/", mode: 0o755},
		{name: "usr/bin/passwd", mode: 0o4755, content: program},
	}
	c.image(busybox+":1.36", linux, root)
	c.image("registry.k8s.io/e2e-test-images/busybox:1.29-2", linux, root, more)
	c.image("registry.k8s.io/pause:3.6", linux, data)
	c.image("registry.k8s.io/pause:3.10.2", linux, data)
	c.image("ghcr.io/containerd/volume-copy-up:2.2", linux, root, data, more)
	c.image("ghcr.io/containerd/volume-ownership:2.1", linux, root, setuid)
	c.windowsImage("ghcr.io/containerd/windows/nanoserver:1809")
	return c
}

// image adds an image index with one manifest per architecture of Linux.
func (c *contents) image(name string, architectures []string, layers ...[]file) {
	var manifests []any
	for _, a := range architectures {
		architecture, variant, _ := strings.Cut(a, "/")
		platform := map[string]string{"os": "linux", "architecture": architecture}
		if variant != "" {
			platform["variant"] = variant
		}
		if architecture == runtime.GOARCH {
			manifests = append(manifests, c.manifest(platform, layers))
			continue
		}
		// Each platform has a layer of its own, whose absence is seen.
		other := []file{{name: "etc/", mode: 0o755}, {name: "etc/platform", mode: 0o644, content: []byte(name + " " + a)}}
		manifests = append(manifests, c.manifest(platform, [][]file{other}))
	}
	c.index(name, manifests)
}

func (c *contents) windowsImage(name string) {
	platform := map[string]string{"os": "windows", "architecture": runtime.GOARCH, "os.version": "10.0.17763.1"}
	c.index(name, []any{c.manifest(platform, [][]file{{{name: "Files/", mode: 0o755}}})})
}

func (c *contents) index(name string, manifests []any) {
	const mediaType = "application/vnd.oci.image.index.v1+json"
	d := c.json(mediaType, map[string]any{"schemaVersion": 2, "mediaType": mediaType, "manifests": manifests})
	c.names[name] = d["digest"].(string)
}

func (c *contents) manifest(platform map[string]string, layers [][]file) map[string]any {
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	var diffIDs []string
	var descriptors []any
	for _, l := range layers {
		plain := tarball(l)
		diffIDs = append(diffIDs, digestOf(plain))
		descriptors = append(descriptors, c.add("application/vnd.oci.image.layer.v1.tar+gzip", compressed(plain)))
	}
	config := map[string]any{
		"config": map[string]any{"Env": []string{"PATH=/usr/bin:/bin"}, "Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}
	for k, v := range platform {
		config[k] = v
	}
	d := c.json(mediaType, map[string]any{
		"schemaVersion": 2,
		"mediaType":     mediaType,
		"config":        c.json("application/vnd.oci.image.config.v1+json", config),
		"layers":        descriptors,
	})
	d["platform"] = platform
	return d
}

// json adds a document and returns its descriptor.
func (c *contents) json(mediaType string, document map[string]any) map[string]any {
	b, err := json.Marshal(document)
	if err != nil {
		panic(err) // maps of strings marshal
	}
	return c.add(mediaType, b)
}

// add adds a blob and returns its descriptor.
func (c *contents) add(mediaType string, b []byte) map[string]any {
	d := digestOf(b)
	c.blobs[d] = blob{mediaType: mediaType, digest: d, bytes: b}
	return map[string]any{"mediaType": mediaType, "digest": d, "size": len(b)}
}

func tarball(files []file) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		must(t.WriteHeader(h))
		_, err := t.Write(f.content)
		must(err)
	}
	must(t.Close())
	return b.Bytes()
}

func compressed(plain []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	must(err)
	_, err = z.Write(plain)
	must(err)
	must(z.Close())
	return b.Bytes()
}

// must is for writes to memory, which do not fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// imageList is the suite's own list of images, in TOML, as far as its defaults
// cannot be made: a digest names bytes.
func (c *contents) imageList() string {
	return fmt.Sprintf("BusyBoxByDigest = %q\n", busybox+"@"+c.names[busybox+":1.36"])
}
