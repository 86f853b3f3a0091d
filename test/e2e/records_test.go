package e2e

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// records are what the daemon keeps for somebody, in the words of a census:
// containers, leases, and snapshots that are no layer of an image. What none of
// them holds, its garbage collector removes: content and layers without an image.
func (h *host) records(ctx context.Context) (lines []string, _ error) {
	cl, err := client.New(h.Address(), client.WithTimeout(patience))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	spaces := []string{h.Namespace}
	if h.kind.handler != "" {
		spaces = append(spaces, daemon.CRINamespace)
	}
	for _, space := range spaces {
		ctx := namespaces.WithNamespace(ctx, space)
		containers, err := cl.ContainerService().List(ctx)
		if err != nil {
			return nil, fmt.Errorf("list containers: %w", err)
		}
		for _, c := range containers {
			lines = append(lines, "container "+c.ID)
		}
		leases, err := cl.LeasesService().List(ctx)
		if err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
		for _, l := range leases {
			lines = append(lines, "lease "+l.ID)
		}
		err = cl.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, s snapshots.Info) error {
			if s.Kind != snapshots.KindCommitted {
				lines = append(lines, fmt.Sprintf("snapshot %s, %s", s.Name, s.Kind))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list snapshots: %w", err)
		}
	}
	return lines, nil
}
