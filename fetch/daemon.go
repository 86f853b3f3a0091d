package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/leases"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/layerfile"
	"github.com/wasmshim/containerd-shim-wasm/oci/layers"
)

// daemon is a connection to containerd. Only its services that exist since 1.0 are
// used, and not its client package, which links ten times as much.
type daemon struct {
	conn       *grpc.ClientConn
	namespace  string
	containers containersapi.ContainersClient
	images     imagesapi.ImagesClient
	content    content.Provider
	leases     leases.Manager
}

func dial(r *layerfile.Request) (*daemon, error) {
	conn, err := grpc.NewClient(dialer.DialAddress(r.Address),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			// containerd's own dialer waits for a socket that does not exist.
			var d net.Dialer
			return d.DialContext(ctx, "unix", strings.TrimPrefix(address, "unix://"))
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize)))
	if err != nil {
		return nil, control.Errorf(control.Unavailable, "connect to containerd at %s: %w", r.Address, err)
	}
	return &daemon{
		conn:       conn,
		namespace:  r.Namespace,
		containers: containersapi.NewContainersClient(conn),
		images:     imagesapi.NewImagesClient(conn),
		content:    contentproxy.NewContentStore(conn),
		leases:     leasesproxy.NewLeaseManager(leasesapi.NewLeasesClient(conn)),
	}, nil
}

func (d *daemon) Close() error { return d.conn.Close() }

func (d *daemon) within(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, d.namespace)
}

// image is an image as containerd knows it.
type image struct {
	name   string
	target ocispec.Descriptor
}

// imageOf returns the image of a container, and nil when it has none.
func (d *daemon) imageOf(ctx context.Context, id string) (*image, error) {
	c, err := d.containers.Get(ctx, &containersapi.GetContainerRequest{ID: id})
	if err != nil {
		return nil, control.Errorf(control.Unavailable, "ask containerd for container %s: %w", id, errgrpc.ToNative(err))
	}
	name := c.GetContainer().GetImage()
	if name == "" {
		return nil, nil
	}
	img, err := d.image(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, control.Errorf(control.NotFound, "image %s of the container is not known to containerd any more; pull it again", name)
	}
	if err != nil {
		return nil, control.Errorf(control.Unavailable, "ask containerd for image %s: %w", name, err)
	}
	return img, nil
}

// image returns the image of that name.
//
// Errors: errdefs.ErrNotFound.
func (d *daemon) image(ctx context.Context, name string) (*image, error) {
	r, err := d.images.Get(ctx, &imagesapi.GetImageRequest{Name: name})
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	return newImage(r.GetImage()), nil
}

func newImage(i *imagesapi.Image) *image {
	t := i.GetTarget()
	return &image{name: i.GetName(), target: ocispec.Descriptor{MediaType: t.GetMediaType(), Digest: digest.Digest(t.GetDigest()), Size: t.GetSize()}}
}

// layer finds the module and makes it a file.
func (d *daemon) layer(ctx context.Context, r *layerfile.Request) (*layerfile.File, error) {
	img, read, err := d.read(ctx, r.ID)
	// A native program may come from a mount or a hook, whatever became of the
	// image.
	if isNotFound(err) && !r.Wanted || err == nil && (read == nil || len(read.Modules) == 0) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	module, reading, err := read.Choose(r.Readings...)
	if read.RootFS && !r.Wanted && (err != nil || module.Name == "") {
		return nil, nil
	}
	if err != nil {
		return nil, about(img, err)
	}
	if err := d.checkAsked(ctx, r.Asked, img, read); err != nil {
		return nil, err
	}
	file := &layerfile.File{Name: module.Name, Reading: reading}
	if file.Name == "" {
		file.Name = fmt.Sprintf("layer %.19s", module.Digest)
	}
	if file.Digest, err = module.SHA256(); err != nil {
		return nil, about(img, err)
	}
	if file.File, err = d.file(ctx, r, module, file.Digest); err != nil {
		return nil, about(img, err)
	}
	return file, nil
}

// read returns the image of a container and its layers; nil when it has none.
func (d *daemon) read(ctx context.Context, id string) (*image, *layers.Image, error) {
	img, err := d.imageOf(ctx, id)
	if img == nil {
		return nil, nil, err
	}
	read, err := layers.Read(ctx, d.content, img.target)
	if err != nil {
		return nil, nil, about(img, err)
	}
	return img, read, nil
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[*control.Error](err)
	return ok && e.Class == control.NotFound
}

// about says of which image a sentence speaks.
func about(img *image, err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return control.Errorf(e.Class, "image %s: %s", img.name, e.Message)
	}
	return err
}
