package image

import (
	"archive/tar"
	"context"
	"fmt"
	"io"

	layertar "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// unpacker puts layers over each other in a directory, as containerd's
// snapshotters do and with their code. What a lookup of a module does not need
// stays out: owners, devices, extended attributes.
type unpacker struct {
	root string
	// size and entries count what came of all layers.
	size    int64
	entries int
}

// Limits on an unpacked image. It is put on this machine's disk, by anybody who
// has been given the image by somebody.
const (
	maxUnpacked = 4 << 30 // bytes
	maxEntries  = 500_000
)

func (u *unpacker) apply(ctx context.Context, r io.Reader) error {
	// What containerd would say is about what stays out.
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	ctx = log.WithLogger(ctx, logrus.NewEntry(silent))
	_, err := layertar.Apply(ctx, u.root, interruptedReader{ctx, r}, layertar.WithNoSameOwner(), layertar.WithFilter(u.accept))
	return err
}

// accept decides on an entry before its content is read, and changes its header.
func (u *unpacker) accept(hdr *tar.Header) (bool, error) {
	u.size += max(hdr.Size, 0)
	if u.entries++; u.entries > maxEntries || u.size > maxUnpacked {
		return false, fmt.Errorf("the image is larger than %d GiB or has more than %d files, and is not unpacked", maxUnpacked>>30, maxEntries)
	}
	hdr.PAXRecords = nil
	switch hdr.Typeflag {
	case tar.TypeBlock, tar.TypeChar, tar.TypeFifo:
		return false, nil
	case tar.TypeDir:
		// This process goes on writing there, and removes it.
		hdr.Mode |= 0o700
	case tar.TypeReg:
		hdr.Mode |= 0o600
	}
	// No program of an image becomes setuid on this machine.
	hdr.Mode &= 0o777
	return true, nil
}

// interruptedReader fails once its context is done.
type interruptedReader struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptedReader) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}
