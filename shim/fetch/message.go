package fetch

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// Request is what the shim writes to the process's stdin as JSON.
type Request struct {
	// Address is that of containerd's gRPC socket; Namespace and ID are the
	// container's.
	Address, Namespace, ID string
	// Asked is the name of the image that CRI was asked for; empty without CRI.
	Asked string
	// Readings and Wanted are those of oci.FindLayer.
	Readings []string
	Wanted   bool
	// CacheDir and CacheSize are the node's cache and its limit in bytes. Where
	// it cannot be used, the module is kept in Dir, without a name.
	CacheDir  string
	CacheSize int64
	Dir       string
}

// AnswerFD is the process's end of a SOCK_SEQPACKET socket for its one answer.
const AnswerFD = 3

// answer is that message. Beside it goes a descriptor of the module if there is
// one.
type answer struct {
	Error   *control.Error `json:",omitempty"`
	Name    string         `json:",omitempty"`
	Digest  string         `json:",omitempty"` // hexadecimal
	Reading int            `json:",omitempty"`
}

// maxAnswer is more than any answer has: a name has at most maxName bytes, and a
// sentence 8 KiB.
const maxAnswer = 64 << 10

func send(conn *net.UnixConn, layer *oci.Layer, err error) error {
	var a answer
	var rights []byte
	switch {
	case err != nil:
		e, ok := errors.AsType[*control.Error](err)
		if !ok {
			e = control.Errorf(control.Internal, "%w", err)
		}
		a.Error = e
	case layer != nil:
		a.Name, a.Digest, a.Reading = layer.Name, hex.EncodeToString(layer.Digest[:]), layer.Reading
		rights = unix.UnixRights(int(layer.File.Fd()))
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, _, err = conn.WriteMsgUnix(b, rights, nil)
	return err
}

// Receive reads the answer of a process that has the other end of conn. It returns
// nil without an error when no layer is meant.
//
// Errors: a *control.Error for what the process found out, io.ErrUnexpectedEOF
// when it ended without a word.
func Receive(conn *net.UnixConn) (*oci.Layer, error) {
	buf, oob := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	file, err := receivedFile(oob[:oobn])
	if err != nil {
		return nil, err
	}
	layer, err := parseAnswer(buf[:n], file)
	if layer == nil && file != nil {
		file.Close()
	}
	return layer, err
}

func receivedFile(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive a module: %d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive a module: %d descriptors: %w", len(fds), err)
	}
	return os.NewFile(uintptr(fds[0]), "module"), nil
}

func parseAnswer(b []byte, file *os.File) (*oci.Layer, error) {
	if len(b) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("receive a module: %w", err)
	}
	if a.Error != nil {
		return nil, a.Error
	}
	if file == nil {
		return nil, nil
	}
	layer := &oci.Layer{File: file, Name: a.Name, Reading: a.Reading}
	if n, err := hex.Decode(layer.Digest[:], []byte(a.Digest)); err != nil || n != len(layer.Digest) {
		return nil, fmt.Errorf("receive a module: its digest is %q", a.Digest)
	}
	return layer, nil
}
