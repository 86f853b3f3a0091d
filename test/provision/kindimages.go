package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

var pauseReference = regexp.MustCompile(`sandbox_image = "([^"]+)"`)

// loadImages makes the images that kubeadm asks for, each of one program, and puts
// them into the store of the node's containerd.
func (n *kindNode) loadImages(ctx context.Context) error {
	list := command{args: []string{filepath.Join(n.kubernetes, "kubeadm"), "config", "images", "list", "--kubernetes-version", n.version}}
	out, err := list.run(ctx)
	if err != nil {
		return err
	}
	config, err := os.ReadFile(n.path("etc/containerd/config.toml"))
	if err != nil {
		return err
	}
	references := strings.Fields(out)
	if pause := pauseReference.FindSubmatch(config); pause != nil {
		references = append(references, string(pause[1])) // kubeadm's may be another version
	}
	dir, err := os.MkdirTemp("", "kind-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var archives []string
	for i, ref := range references {
		name, _, _ := strings.Cut(path.Base(ref), ":")
		// kubeadm names kube-proxy by this path.
		at := "/usr/local/bin/" + name
		img := scratchimage.Image{Ref: ref, Files: map[string][]byte{"/tmp/": nil}, Entrypoint: []string{at},
			Env: []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin"}}
		program := filepath.Join(n.kubernetes, name)
		if name == "pause" {
			program = n.pause
		}
		if img.Files[at], err = os.ReadFile(program); err != nil {
			return err
		}
		// The only one that runs another program.
		if name == "kube-proxy" {
			if err := addNft(ctx, img.Files); err != nil {
				return err
			}
		}
		archive := filepath.Join(dir, fmt.Sprintf("%d.tar", i))
		if err := img.Write(archive); err != nil {
			return err
		}
		archives = append(archives, archive)
	}
	return n.importImages(ctx, dir, archives)
}

// addNft adds Debian's nft with its libraries to the files of an image.
func addNft(ctx context.Context, files map[string][]byte) error {
	root, err := os.MkdirTemp("", "nft-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := debianRoot(ctx, root, "nftables"); err != nil {
		return err
	}
	for _, pattern := range []string{"usr/sbin/nft", "usr/lib/*-linux-gnu/*.so*", "usr/lib64/ld-*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, f := range found {
			// Links become what they lead to; the linker's absolute one leads into the root.
			target, err := filepath.EvalSymlinks(f)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(target, root) {
				var link string
				if link, err = os.Readlink(f); err == nil {
					target, err = filepath.EvalSymlinks(filepath.Join(root, link))
				}
			}
			if err != nil {
				return err
			}
			b, err := os.ReadFile(target)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(f, root)
			files[name] = b
			if rest, found := strings.CutPrefix(name, "/usr/lib64"); found {
				files["/lib64"+rest] = b // the interpreter that programs name
			}
		}
	}
	return nil
}

// preloadConfig is that of a containerd without runtimes that fills a store.
const preloadConfig = `version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`

// importImages lets the node's own containerd write the images to the place where
// it will look for them. They are unpacked when they are first used.
func (n *kindNode) importImages(ctx context.Context, dir string, archives []string) (err error) {
	socket, config := filepath.Join(dir, "s"), filepath.Join(dir, "config.toml")
	content := fmt.Sprintf(preloadConfig, n.path("var/lib/containerd"), filepath.Join(dir, "state"), socket, filepath.Join(dir, "opt"))
	if err := os.WriteFile(config, []byte(content), 0o644); err != nil {
		return err
	}
	log := &strings.Builder{}
	daemon := exec.CommandContext(ctx, filepath.Join(n.containerd, "containerd"), "--config", config)
	daemon.Stdout, daemon.Stderr = log, log
	daemon.Cancel = func() error { return daemon.Process.Signal(os.Interrupt) }
	daemon.WaitDelay = 10 * time.Second
	if err := daemon.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = daemon.Wait()
		close(exited)
	}()
	defer func() {
		_ = daemon.Process.Signal(os.Interrupt)
		<-exited
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, tail(log.String()))
		}
	}()
	ctr := func(args ...string) error {
		_, err := command{args: append([]string{filepath.Join(n.containerd, "ctr"), "--address", socket, "--namespace", "k8s.io"}, args...)}.run(ctx)
		return err
	}
	for ctr("version") != nil {
		select {
		case <-exited:
			return errors.New("containerd ended before it answered")
		case <-time.After(100 * time.Millisecond): // it tells its readiness to systemd only
		}
	}
	for _, a := range archives {
		if err := ctr("images", "import", "--local", "--no-unpack", a); err != nil {
			return err
		}
	}
	return nil
}
