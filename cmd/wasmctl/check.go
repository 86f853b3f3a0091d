package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/image"
	"github.com/wasmshim/containerd-shim-wasm/runner"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "tell whether modules and images would run here, and if not, why",
		UsageText: "wasmctl check [OPTIONS] app.wasm[#export]|LAYOUT|ARCHIVE.tar|IMAGE …",
		Description: `Reads and compiles each module as the runtime does when it creates a container,
and runs nothing. An operand that is no file or directory is an image in a registry, which
is asked with the credentials of "docker login", or on a node, with --address; write ./x for
a file that may not exist.

The exit code is 0 when all of them would run, else 1.

  wasmctl check app.wasm
  wasmctl check --json ghcr.io/acme/app:v1`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "write an array of JSON"},
			&cli.StringFlag{Name: "command", Usage: "`COMMAND` in place of the images' own, as in a Pod"},
			&cli.StringFlag{Name: "address", Usage: "`SOCKET` of the containerd that has the images"},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "`NAMESPACE` of that containerd, k8s.io for CRI's", Value: "default"},
			&cli.BoolFlag{Name: "fast", Usage: "do not compile: what only the compiler finds goes unnoticed"},
		}, registryFlags()...),
		Action: check,
	}
}

// checked is what was found about one module, or about an operand in which none
// was found. It is the JSON that users get.
type checked struct {
	// Operand is what the user named.
	Operand string `json:"operand"`
	Image   string `json:"image,omitempty"`
	// ImageDigest is that of what the image's name refers to.
	ImageDigest string `json:"imageDigest,omitempty"`
	Platform    string `json:"platform,omitempty"`
	// Module is its path in the image or on this machine.
	Module string `json:"module,omitempty"`
	// Layer tells that it is a layer of its own.
	Layer  bool   `json:"layer,omitempty"`
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Runs   bool   `json:"runs"`
	// Reason is why it would not.
	Reason string `json:"reason,omitempty"`
	*runner.Description
}

func check(c *cli.Context) error {
	if c.NArg() == 0 {
		return errors.New("check: nothing to check; usage: wasmctl check app.wasm|IMAGE…")
	}
	ctx, stop := signal.NotifyContext(c.Context, unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	k := checker{registry: registry(c), node: image.Node{Address: c.String("address"), Namespace: c.String("namespace")}, fast: c.Bool("fast")}
	if c.IsSet("command") {
		k.command = []string{c.String("command")}
	}
	var all []checked
	for _, operand := range c.Args().Slice() {
		found := k.operand(ctx, operand)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		all = append(all, found...)
	}
	if err := writeChecked(c.App.Writer, all, c.Bool("json")); err != nil {
		return err
	}
	for _, r := range all {
		if !r.Runs {
			return cli.Exit("", 1)
		}
	}
	return nil
}

// checker checks operands.
type checker struct {
	registry image.Registry
	// node has the images if it has an address.
	node image.Node
	fast bool
	// command replaces that of images.
	command []string
}

// operand checks all that an operand names. A failure is a result, too.
func (k checker) operand(ctx context.Context, operand string) []checked {
	all, err := k.find(ctx, operand)
	if err != nil {
		all = append(all, checked{Operand: operand, Reason: err.Error()})
	}
	return all
}

func (k checker) find(ctx context.Context, operand string) ([]checked, error) {
	path, export, err := splitExport(operand)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, ".") && !strings.HasSuffix(path, ".wasm"):
		return k.named(ctx, operand)
	case err != nil:
		return nil, err
	case st.IsDir():
		return k.layout(ctx, operand, path)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is neither a file nor a directory", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if isTar(f) {
		return k.layout(ctx, operand, path)
	}
	return []checked{k.module(ctx, checked{Operand: operand, Module: path}, f, export)}, nil
}

// named checks an image of the node or of a registry.
func (k checker) named(ctx context.Context, operand string) ([]checked, error) {
	var img *image.Opened
	var err error
	if k.node.Address != "" {
		var end func() error
		if img, end, err = k.node.Open(ctx, operand); err == nil {
			defer end()
		}
	} else {
		img, err = k.registry.Open(ctx, operand)
	}
	if err != nil {
		return nil, err
	}
	return []checked{k.image(ctx, operand, img)}, nil
}

// isTar recognises POSIX's and GNU's headers.
func isTar(f *os.File) bool {
	magic := make([]byte, 5)
	_, err := f.ReadAt(magic, 257)
	return err == nil && string(magic) == "ustar"
}

func (k checker) layout(ctx context.Context, operand, path string) (all []checked, err error) {
	images, end, err := image.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, img := range images {
		all = append(all, k.image(ctx, operand, img))
	}
	return all, nil
}

func (k checker) image(ctx context.Context, operand string, img *image.Opened) checked {
	about := checked{Operand: operand, Image: img.Name, ImageDigest: img.Digest.String(), Platform: img.Platform}
	m, err := img.Module(ctx, k.command...)
	if err != nil {
		about.Reason = err.Error()
		return about
	}
	defer m.File.Close()
	about.Module, about.Layer = m.Name, m.Layer
	return k.module(ctx, about, m.File, m.Export)
}

// module checks one, and completes what is known about it.
func (k checker) module(ctx context.Context, r checked, f *os.File, export string) checked {
	refuse := func(err error) checked {
		r.Reason = err.Error()
		return r
	}
	binary, unmap, err := runner.ReadModule(f, r.Module)
	if err != nil {
		return refuse(err)
	}
	defer unmap()
	digest := sha256.Sum256(binary)
	r.Digest, r.Size = "sha256:"+hex.EncodeToString(digest[:]), int64(len(binary))
	r.Description, err = runner.Describe(binary, r.Module, export)
	if err == nil && !k.fast {
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			err = tryCompile(ctx, f, r.Module)
		}
	}
	if err != nil {
		return refuse(err)
	}
	r.Runs = true
	return r
}
