package cluster

import (
	"context"
	"os"
	"path/filepath"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// The images that Pods find on the node.
const (
	pauseImage = "localhost/pause:1"
	// WebImage holds test/guests/web.c as a guest, and the probe for exec.
	WebImage = "localhost/web:wasm"
	// NativeWebImage holds the same program for Linux.
	NativeWebImage = "localhost/web:linux"
	// ProbeImage holds test/guests/probe.c.
	ProbeImage = "localhost/probe:wasm"
	// GoProbeImage and RustProbeImage hold those of these languages.
	GoProbeImage   = "localhost/probe-go:wasm"
	RustProbeImage = "localhost/probe-rust:wasm"
	// GRPCImage holds test/guests/grpc-go.
	GRPCImage = "localhost/grpc:wasm"
	// BusyboxImage is for native containers.
	BusyboxImage = "localhost/busybox:1"
)

func (c *Cluster) importImages(ctx context.Context) error {
	kubernetes := func(name string) string { return filepath.Join(c.programs.Kubernetes, name) }
	web, guests := c.programs.Web, c.programs.Guests
	for _, img := range []struct {
		ref, entry string
		args       []string
		files      map[string]string
	}{
		{pauseImage, "/web", []string{"pause"}, map[string]string{"/web": web}},
		{NativeWebImage, "/web", []string{"serve", "8080"}, map[string]string{"/web": web, "/tmp/": ""}},
		{WebImage, "/web.wasm", []string{"serve", "8080"}, map[string]string{"/web.wasm": guests["web"], "/tools/probe.wasm": guests["probe-c"], "/tmp/": ""}},
		{ProbeImage, "/probe.wasm", nil, map[string]string{"/probe.wasm": guests["probe-c"], "/tmp/": ""}},
		{GoProbeImage, "/probe.wasm", nil, map[string]string{"/probe.wasm": guests["probe-go"]}},
		{GRPCImage, "/grpc.wasm", nil, map[string]string{"/grpc.wasm": guests["grpc-go"]}},
		{RustProbeImage, "/probe.wasm", nil, map[string]string{"/probe.wasm": guests["probe-rust"], "/tmp/": ""}},
		{BusyboxImage, "/bin/busybox", []string{"sh"}, map[string]string{"/bin/busybox": c.programs.Busybox, "/tmp/": ""}},
		{"localhost/coredns:1", "/coredns", nil, map[string]string{"/coredns": kubernetes("coredns")}},
		{"localhost/metrics-server:1", "/metrics-server", nil, map[string]string{"/metrics-server": kubernetes("metrics-server")}},
	} {
		files := map[string][]byte{}
		for name, from := range img.files {
			if from == "" {
				files[name] = nil
				continue
			}
			b, err := os.ReadFile(from)
			if err != nil {
				return err
			}
			files[name] = b
		}
		s := scratchimage.Image{Ref: img.ref, Files: files, Entrypoint: []string{img.entry}, Cmd: img.args}
		if err := c.ImportImage(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// ImportImage makes an image known to the node.
func (c *Cluster) ImportImage(ctx context.Context, img scratchimage.Image) error {
	f, err := os.CreateTemp(c.dir, "image-")
	if err != nil {
		return err
	}
	f.Close()
	defer os.Remove(f.Name())
	if err := img.Write(f.Name()); err != nil {
		return err
	}
	return c.ctr(ctx, "images", "import", f.Name())
}
