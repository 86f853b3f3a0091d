package image

import (
	"bufio"
	"context"
	"fmt"
	"io"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Node is a containerd with its images.
type Node struct {
	// Address is the path of its socket, Namespace that of the images.
	Address, Namespace string
}

// Open opens an image of the node. closeNode ends the connection and with it the
// image.
func (n Node) Open(ctx context.Context, full string) (_ *Opened, closeNode func() error, err error) {
	conn, err := grpc.NewClient(dialer.DialAddress(n.Address),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialer.ContextDialer))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to containerd at %s: %w", n.Address, err)
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	complete, err := completeName(full)
	if err != nil {
		return nil, nil, err
	}
	answer, err := imagesapi.NewImagesClient(conn).Get(namespaces.WithNamespace(ctx, n.Namespace), &imagesapi.GetImageRequest{Name: complete})
	if err != nil {
		err = errgrpc.ToNative(err)
		if errdefs.IsNotFound(err) {
			return nil, nil, fmt.Errorf("containerd at %s has no image %s in its namespace %s; pull it, or name another with --namespace", n.Address, complete, n.Namespace)
		}
		return nil, nil, fmt.Errorf("ask containerd at %s for image %s: %w", n.Address, complete, err)
	}
	t := answer.GetImage().GetTarget()
	digest, err := v1.NewHash(t.GetDigest())
	if err != nil {
		return nil, nil, err
	}
	s := nodeContent{contentproxy.NewContentStore(conn), n.Namespace}
	img, err := open(ctx, s, v1.Descriptor{MediaType: types.MediaType(t.GetMediaType()), Digest: digest, Size: t.GetSize()}, complete)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", complete, err)
	}
	return img, conn.Close, nil
}

// nodeContent is the content store of a node.
type nodeContent struct {
	provider  content.Provider
	namespace string
}

func (s nodeContent) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ra, err := s.provider.ReaderAt(namespaces.WithNamespace(ctx, s.namespace), specDescriptor(d))
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s %s is not on the node; pull the image again: %w", d.MediaType, d.Digest, err)
	}
	if err != nil {
		return nil, err
	}
	// containerd answers with as many bytes as are asked for.
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(content.NewReader(ra), 1<<20), ra}, nil
}

// Close implements io.Closer; the connection is the caller's.
func (s nodeContent) Close() error { return nil }
