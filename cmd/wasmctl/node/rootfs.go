package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// errNotUnpacked is the state of an image of which no container can be made yet:
// it was fetched for another platform, or for another snapshotter.
var errNotUnpacked = errors.New("it is not unpacked; pull it for this platform and snapshotter")

// maxConfig bounds the config of an image in bytes. Registries take no more for a
// manifest.
const maxConfig = 4 << 20

// here matches the images that a node unpacks: its own, and those for WASI.
var here = platforms.Ordered(platforms.DefaultSpec(),
	ocispec.Platform{OS: "wasip1", Architecture: "wasm"}, ocispec.Platform{OS: "wasi", Architecture: "wasm"})

// withRootFS calls use with the root file system of an image, mounted, and with
// its config. ctx has a lease. Nothing of it remains.
func (d *daemon) withRootFS(ctx context.Context, img images.Image, use func(root string, config ocispec.ImageConfig) error) (err error) {
	manifest, err := images.Manifest(ctx, d.ContentStore(), img.Target, here)
	if errdefs.IsNotFound(err) {
		return errNotUnpacked
	}
	if err != nil {
		return fmt.Errorf("read its manifest: %w", err)
	}
	config, snapshotter, chain, err := d.config(ctx, manifest.Config)
	if err != nil {
		return err
	}
	service, key := d.SnapshotService(snapshotter), "wasmctl-"+rand.Text()
	mounts, err := service.View(ctx, key, chain)
	if errdefs.IsNotFound(err) {
		return errNotUnpacked
	}
	if err != nil {
		return fmt.Errorf("view its snapshot: %w", err)
	}
	defer func() {
		if removeErr := service.Remove(context.WithoutCancel(ctx), key); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("remove the view of its snapshot: %w", removeErr))
		}
	}()
	root, err := os.MkdirTemp("", "wasmctl-")
	if err != nil {
		return err
	}
	defer func() {
		// The directory alone: if the unmount fails, its content is not ours.
		err = errors.Join(err, mount.UnmountMounts(mounts, root, 0), os.Remove(root))
	}()
	if err := mount.All(mounts, root); err != nil {
		return fmt.Errorf("mount its root file system: %w", err)
	}
	return use(root, config)
}

// config reads the config of an image, and where containerd has unpacked it.
func (d *daemon) config(ctx context.Context, desc ocispec.Descriptor) (_ ocispec.ImageConfig, snapshotter, chain string, _ error) {
	var config ocispec.Image
	info, err := d.ContentStore().Info(ctx, desc.Digest)
	if err != nil {
		return config.Config, "", "", fmt.Errorf("read its config: %w", err)
	}
	if info.Size > maxConfig || desc.Size != info.Size {
		return config.Config, "", "", fmt.Errorf("its config has %d bytes, its manifest says %d, and %d are the most that is read; push the image again", info.Size, desc.Size, maxConfig)
	}
	b, err := content.ReadBlob(ctx, d.ContentStore(), desc)
	if err == nil {
		err = json.Unmarshal(b, &config)
	}
	if err != nil {
		return config.Config, "", "", fmt.Errorf("read its config: %w", err)
	}
	unpacked := map[string]string{}
	for label, value := range info.Labels {
		if name, ok := strings.CutPrefix(label, "containerd.io/gc.ref.snapshot."); ok {
			unpacked[name] = value
		}
	}
	names := slices.Sorted(maps.Keys(unpacked))
	switch {
	case d.snapshotter != "":
		names = []string{d.snapshotter}
	case unpacked[defaults.DefaultSnapshotter] != "":
		names = []string{defaults.DefaultSnapshotter}
	}
	if len(names) == 0 || unpacked[names[0]] == "" {
		return config.Config, "", "", errNotUnpacked
	}
	return config.Config, names[0], unpacked[names[0]], nil
}
