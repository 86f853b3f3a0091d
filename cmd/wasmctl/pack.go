package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/image"
)

func packCommand() *cli.Command {
	return &cli.Command{
		Name:      "pack",
		Usage:     "put a module into an OCI image",
		UsageText: "wasmctl pack [OPTIONS] -t NAME MODULE.wasm",
		Description: `Writes a tar of an OCI image layout which "ctr image import", "docker load",
skopeo and podman read, or an OCI image layout in a directory, or pushes to the registry
of NAME with the credentials of "docker login". The image has /app.wasm as its
entrypoint, and a manifest for linux/amd64 and linux/arm64 over the same layer.

Options with [ ] may be repeated. The same inputs give the same bytes. Timestamps are SOURCE_DATE_EPOCH, or 1970.

  wasmctl pack app.wasm -t ghcr.io/acme/app:v1
  ctr image import app.tar
  ctr run --rm --runtime io.containerd.wasm.v1 ghcr.io/acme/app:v1 c1`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "tag", Aliases: []string{"t"}, Usage: "`NAME` of the image, such as app:v1"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` for a tar, or - for stdout (default: the last part of NAME with .tar)"},
			&cli.StringFlag{Name: "layout", Usage: "`DIRECTORY` of an OCI image layout to add the image to"},
			&cli.BoolFlag{Name: "push", Usage: "push the image to the registry of NAME"},
			&cli.StringFlag{Name: "shape", Usage: "linux, wasi (tar for wasi/wasm), artifact (application/wasm) or hybrid (files for Linux, and the module as application/wasm)", Value: string(image.Linux)},
			&cli.StringSliceFlag{Name: "arg", Usage: "default `ARGUMENT` of the program"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`NAME=VALUE` for the environment"},
			&cli.StringSliceFlag{Name: "file", Usage: "`HOST:GUEST` puts a file or directory into the image"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "working `DIRECTORY`", DefaultText: "/"},
			&cli.StringSliceFlag{Name: "label", Aliases: []string{"l"}, Usage: "`KEY=VALUE` label of the config"},
			&cli.StringSliceFlag{Name: "annotation", Usage: "`KEY=VALUE` annotation of the index and manifests"},
			&cli.StringSliceFlag{Name: "attach", Usage: "`FILE:MEDIATYPE` beside the image, such as sbom.json:application/spdx+json"},
			&cli.StringSliceFlag{Name: "platform", Usage: "`OS/ARCHITECTURE` to offer", DefaultText: "linux/amd64, linux/arm64"},
		}, registryFlags()...),
		Action: pack,
	}
}

func pack(c *cli.Context) error {
	spec, err := packSpec(c)
	if err != nil {
		return err
	}
	out := c.String("output")
	if out == "" && c.String("layout") == "" && !c.Bool("push") {
		out = baseName(spec.Name) + ".tar"
	}
	if f, ok := c.App.Writer.(*os.File); ok && out == "-" && isTerminal(f) {
		return fmt.Errorf("an image is not written to a terminal; redirect stdout or name a file with -o")
	}
	ctx, stop := signal.NotifyContext(c.Context, unix.SIGINT, unix.SIGTERM)
	defer stop()
	// A second signal is not waited for.
	context.AfterFunc(ctx, stop)
	img, err := image.Pack(spec)
	if err != nil {
		return err
	}
	defer img.Close()

	places, err := deliver(ctx, c, img, out)
	if err != nil || out == "-" {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s\n  image  %s\n  module %s\n", img.Name, img.Digest(), img.Module)
	for _, digest := range img.Referrers() {
		fmt.Fprintf(c.App.Writer, "  attach %s\n", digest)
	}
	for _, place := range places {
		fmt.Fprintf(c.App.Writer, "  %s\n", place)
	}
	return nil
}

// deliver puts the image to where it is asked for, and names the places.
func deliver(ctx context.Context, c *cli.Context, img *image.Image, out string) (places []string, err error) {
	switch out {
	case "":
	case "-":
		if err := img.WriteArchive(interruptible{ctx, c.App.Writer}); err != nil {
			return nil, err
		}
	default:
		err := writeFile(out, func(w io.Writer) error { return img.WriteArchive(interruptible{ctx, w}) })
		if err != nil {
			return nil, err
		}
		places = append(places, "file   "+out)
	}
	if dir := c.String("layout"); dir != "" {
		copyBlob := func(w io.Writer, r io.Reader) error {
			_, err := io.Copy(interruptible{ctx, w}, r)
			return err
		}
		if err := img.WriteLayout(dir, copyBlob); err != nil {
			return nil, err
		}
		places = append(places, "layout "+dir)
	}
	if c.Bool("push") {
		p := newProgress(c.App.ErrWriter, "push "+img.Name.String())
		err := img.Push(ctx, registry(c), p.report)
		p.end()
		if err != nil {
			return nil, err
		}
		places = append(places, "pushed "+img.Name.Name()+"@"+img.Digest().String())
	}
	return places, nil
}

// packSpec reads the flags and operands of the pack command.
func packSpec(c *cli.Context) (spec image.Spec, err error) {
	if c.NArg() != 1 {
		return spec, fmt.Errorf("pack takes one module, got %d; see wasmctl pack --help", c.NArg())
	}
	if c.String("tag") == "" {
		return spec, fmt.Errorf("the image needs a name; give it with -t, such as -t app:v1")
	}
	spec = image.Spec{
		Shape:   image.Shape(c.String("shape")),
		Name:    c.String("tag"),
		Module:  c.Args().First(),
		Args:    c.StringSlice("arg"),
		Env:     c.StringSlice("env"),
		Workdir: c.String("workdir"),
	}
	if spec.Labels, err = pairs("label", c.StringSlice("label")); err != nil {
		return spec, err
	}
	if spec.Annotations, err = pairs("annotation", c.StringSlice("annotation")); err != nil {
		return spec, err
	}
	for _, f := range c.StringSlice("file") {
		i := strings.LastIndex(f, ":")
		if i <= 0 {
			return spec, fmt.Errorf("--file %q is not of the form HOST:GUEST, such as site:/srv/site", f)
		}
		spec.Files = append(spec.Files, image.File{Host: f[:i], Guest: f[i+1:]})
	}
	for _, a := range c.StringSlice("attach") {
		file, mediaType, ok := strings.Cut(a, ":")
		if !ok || file == "" {
			return spec, fmt.Errorf("--attach %q is not of the form FILE:MEDIATYPE, such as sbom.json:application/spdx+json", a)
		}
		spec.Attachments = append(spec.Attachments, image.Attachment{File: file, MediaType: mediaType})
	}
	for _, s := range c.StringSlice("platform") {
		p, err := v1.ParsePlatform(s)
		if err != nil || p.OS == "" || p.Architecture == "" {
			return spec, fmt.Errorf("--platform %q is not of the form OS/ARCHITECTURE, such as linux/amd64", s)
		}
		spec.Platforms = append(spec.Platforms, *p)
	}
	spec.Epoch, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
	return spec, err
}

// sourceDate reads SOURCE_DATE_EPOCH as reproducible-builds.org specifies it:
// seconds since 1970. Without it the time is 1970 itself.
func sourceDate(value string) (time.Time, error) {
	if value == "" {
		return time.Unix(0, 0), nil
	}
	sec, err := strconv.ParseUint(value, 10, 33)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds since 1970", value)
	}
	return time.Unix(int64(sec), 0), nil
}

// baseName is the last part of an image name, without tag and digest.
func baseName(name string) string {
	base := path.Base(name)
	base, _, _ = strings.Cut(base, "@")
	base, _, _ = strings.Cut(base, ":")
	return base
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// interruptible fails once its context is done, so that the writer can clean
// up behind itself.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, fmt.Errorf("interrupted")
	}
	return i.w.Write(p)
}
