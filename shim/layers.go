package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/launch"
	"github.com/wasmshim/containerd-shim-wasm/internal/layerfile"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// imageNameAnnotation is where CRI says which image it was asked for.
const imageNameAnnotation = "io.kubernetes.cri.image-name"

// layerSource is where a container's modules are when they are layers of its
// image.
type layerSource struct {
	// address is that of containerd's gRPC socket; empty when it is not known.
	address   string
	namespace string
	id        string
	bundle    string
	asked     string
	options   *Options
}

func (s *service) layersOf(spec *specs.Spec, id, bundle string, options *Options) layerSource {
	return layerSource{
		address: s.address, namespace: s.namespace, id: id, bundle: bundle,
		asked: spec.Annotations[imageNameAnnotation], options: options,
	}
}

// option makes oci.Resolve look there. The process is started only where a
// container would fail without: those whose file is in their root file system pay
// nothing for it.
func (l layerSource) option(ctx context.Context) oci.Option {
	// A path since containerd 1.0; without a daemon there is nobody to ask.
	if _, err := os.Stat(strings.TrimPrefix(l.address, "unix://")); err != nil {
		return oci.WithLayers(nil)
	}
	return oci.WithLayers(func(readings []string, wanted bool) (*oci.Layer, error) {
		f, err := l.find(ctx, readings, wanted)
		if f != nil {
			return &oci.Layer{File: f.File, Name: f.Name, Digest: f.Digest, Reading: f.Reading}, nil
		}
		if err == nil {
			return nil, nil
		}
		if e, ok := errors.AsType[*control.Error](err); ok {
			return nil, e
		}
		return nil, control.Errorf(control.Internal, "look for a module among the layers of the image: %w", err)
	})
}

// find runs the process to its end.
func (l layerSource) find(ctx context.Context, readings []string, wanted bool) (*layerfile.File, error) {
	path, err := launch.Program(layerfile.Program)
	if err != nil && !wanted {
		return nil, nil // runc says what is missing, or gets it from a mount
	}
	if err != nil {
		return nil, control.Errorf(control.Unavailable, "%s is not in the container's root file system, and for the layers of its image %w", strings.Join(readings[:min(len(readings), 1)], ""), err)
	}
	request, err := launch.Memfd("request", layerfile.Request{
		Address: l.address, Namespace: l.namespace, ID: l.id, Asked: l.asked,
		Readings: readings, Wanted: wanted,
		CacheDir: l.options.CacheDir, CacheSize: l.options.cacheSize, Dir: l.bundle,
	})
	if err != nil {
		return nil, err
	}
	defer request.Close()
	ours, theirs, err := packetSocket()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	defer theirs.Close()
	cmd := exec.Command(path)
	// It logs there, and Go's runtime says why it ends.
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = request, &stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "GOMEMLIMIT=64MiB")
	wait, err := startReaped(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	theirs.Close()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	file, err := layerfile.Receive(ours)
	if err != nil {
		// It has said all that it will.
		_ = cmd.Process.Kill()
	}
	status, waitErr := wait()
	if stderr.Len() > 0 {
		log.G(ctx).WithField("id", l.id).Warnf("%s: %.4096s", layerfile.Program, stderr.Bytes())
	}
	switch {
	case !stop():
		err = context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.Join(fmt.Errorf("the process ended with status %d before it answered", status), waitErr)
	}
	if err != nil && file != nil {
		file.File.Close()
		file = nil
	}
	return file, err
}

// packetSocket returns the two ends of a socket that keeps messages apart.
func packetSocket() (ours *net.UnixConn, theirs *os.File, _ error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "answer")
	theirs = os.NewFile(uintptr(fds[1]), "answer")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	ours, ok := conn.(*net.UnixConn)
	if !ok {
		theirs.Close()
		return nil, nil, errdefs.ErrInternal.WithMessage("a Unix socket of another type")
	}
	return ours, theirs, nil
}
