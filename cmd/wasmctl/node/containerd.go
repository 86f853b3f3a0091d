package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/urfave/cli/v2"
)

// connectTimeout is how long a daemon may take to answer at first.
const connectTimeout = 10 * time.Second

// leaseTime is when containerd lets go of what a killed wasmctl had asked it to
// keep.
const leaseTime = time.Hour

// kubernetes is the containerd namespace of Pods.
const kubernetes = "k8s.io"

// daemonFlags say which containerd, and what of it.
func daemonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Aliases: []string{"a"}, Value: defaults.DefaultAddress, EnvVars: []string{"CONTAINERD_ADDRESS"}, Usage: "`SOCKET` of containerd"},
		&cli.StringFlag{Name: "snapshotter", EnvVars: []string{"CONTAINERD_SNAPSHOTTER"}, Usage: "`NAME` of the snapshotter (default: any that has the image)"},
	}
}

func namespaceFlag() cli.Flag {
	return &cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, EnvVars: []string{"CONTAINERD_NAMESPACE"},
		Usage: "containerd `NAMESPACE` of the images (default: k8s.io where there is one, otherwise default)"}
}

// daemon is a containerd in one of its namespaces.
type daemon struct {
	*client.Client
	// snapshotter is the one to use; empty for any.
	snapshotter string
}

// dial connects to the daemon that the flags name.
func dial(ctx context.Context, c *cli.Context) (*daemon, error) {
	address := c.String("address")
	cl, err := client.New(address, client.WithTimeout(connectTimeout))
	if err == nil {
		// The client connects at the first call only.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		if _, err = cl.Version(ctx); err != nil {
			cl.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("containerd does not answer at %s: %w; name its socket with --address", address, err)
	}
	return &daemon{cl, c.String("snapshotter")}, nil
}

// within returns a context for the namespace of that name, or for the one that a
// user who names none means.
func (d *daemon) within(ctx context.Context, name string) (context.Context, error) {
	if name == "" {
		all, err := d.NamespaceService().List(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask containerd for its namespaces: %w", err)
		}
		if name = namespaces.Default; slices.Contains(all, kubernetes) {
			name = kubernetes
		}
	}
	return namespaces.WithNamespace(ctx, name), nil
}

// image finds an image by its name, which may be a short one.
func (d *daemon) image(ctx context.Context, name string) (images.Image, error) {
	img, err := d.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		if ref, refErr := reference.ParseDockerRef(name); refErr == nil && ref.String() != name {
			img, err = d.ImageService().Get(ctx, ref.String())
		}
	}
	if errdefs.IsNotFound(err) {
		ns, _ := namespaces.Namespace(ctx)
		return img, fmt.Errorf("there is no image %s in containerd's namespace %s; pull it, or name another with --namespace", name, ns)
	}
	if err != nil {
		return img, fmt.Errorf("ask containerd for image %s: %w", name, err)
	}
	return img, nil
}

// images lists the images of the namespace, each once: CRI gives an image a name
// for its tag, one for its digest and one for its config.
func (d *daemon) images(ctx context.Context) ([]images.Image, error) {
	all, err := d.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask containerd for its images: %w", err)
	}
	// The name that people know first.
	rank := func(name string) int {
		switch {
		case strings.HasPrefix(name, "sha256:"):
			return 2
		case strings.Contains(name, "@"):
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b images.Image) int {
		if byRank := rank(a.Name) - rank(b.Name); byRank != 0 {
			return byRank
		}
		return strings.Compare(a.Name, b.Name)
	})
	var once []images.Image
	seen := map[string]bool{}
	for _, img := range all {
		if !seen[img.Target.Digest.String()] {
			seen[img.Target.Digest.String()] = true
			once = append(once, img)
		}
	}
	return once, nil
}

// holding runs f while containerd keeps what f reads or makes.
func (d *daemon) holding(ctx context.Context, f func(context.Context) error) error {
	leased, release, err := d.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(leaseTime))
	if err != nil {
		return fmt.Errorf("take a lease of containerd's: %w", err)
	}
	err = f(leased)
	if releaseErr := release(context.WithoutCancel(ctx)); releaseErr != nil && err == nil {
		err = fmt.Errorf("give a lease of containerd's back: %w", releaseErr)
	}
	return err
}
