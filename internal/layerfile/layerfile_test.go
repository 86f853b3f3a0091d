package layerfile

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// pair returns the two ends of a connection.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

func TestAFileIsHandedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "module")
	if err := os.WriteFile(path, []byte("module"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, b := pair(t)
	sent := &File{File: f, Name: strings.Repeat("\x01", 2*maxName), Digest: [32]byte{1, 2, 31: 3}, Reading: 1}
	if err := Send(a, sent, nil); err != nil {
		t.Fatal(err)
	}
	got, err := Receive(b)
	if err != nil {
		t.Fatal(err)
	}
	defer got.File.Close()
	content, err := io.ReadAll(got.File)
	if err != nil || string(content) != "module" || got.Name != sent.Name[:maxName] || got.Digest != sent.Digest || got.Reading != 1 {
		t.Errorf("%q, %+v, %v", content, got.Digest, err)
	}
}

func TestAnErrorKeepsItsClass(t *testing.T) {
	a, b := pair(t)
	for _, sent := range []error{
		control.Errorf(control.NotFound, "%s", strings.Repeat("\"", 9000)),
		errors.Join(errors.New("other"), control.Errorf(control.InvalidArgument, "sentence")),
	} {
		if err := Send(a, nil, sent); err != nil {
			t.Fatal(err)
		}
		want, _ := errors.AsType[*control.Error](sent)
		_, err := Receive(b)
		if got, ok := errors.AsType[*control.Error](err); !ok || *got != *want {
			t.Errorf("got %v", err)
		}
	}
}

func TestNoLayerAndNoAnswer(t *testing.T) {
	a, b := pair(t)
	if err := Send(a, nil, nil); err != nil {
		t.Fatal(err)
	}
	if f, err := Receive(b); f != nil || err != nil {
		t.Errorf("no layer: %v, %v", f, err)
	}
	a.Close()
	if f, err := Receive(b); f != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("no answer: %v, %v", f, err)
	}
}
