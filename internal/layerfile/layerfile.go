// Package layerfile is what the shim and wasm-fetch say to each other: one request
// for a module that is a layer of a container's image, and one answer with the
// file. It is apart from package fetch, which links what the shim must not.
package layerfile

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
)

// Program is the name of the binary, which is installed beside the shim's.
const Program = "wasm-fetch"

// Request is what the process reads from its stdin as JSON.
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

// File is the module. The fields are those of oci.Layer.
type File struct {
	File    *os.File
	Name    string
	Digest  [32]byte
	Reading int
}

// answer is the message. Beside it goes a descriptor of the module if there is
// one.
type answer struct {
	Error   *control.Error `json:",omitempty"`
	Name    string         `json:",omitempty"`
	Digest  string         `json:",omitempty"` // hexadecimal
	Reading int            `json:",omitempty"`
}

const (
	// maxName bounds the name of a module, which is for messages and argv.
	maxName = 4 << 10
	// maxAnswer is more than any answer has: JSON makes six bytes of one at most,
	// and a sentence has 8 KiB.
	maxAnswer = 128 << 10
)

// Send answers. No file and no error is that no layer is meant.
func Send(conn *net.UnixConn, file *File, err error) error {
	var a answer
	var rights []byte
	switch {
	case err != nil:
		e, ok := errors.AsType[*control.Error](err)
		if !ok {
			e = control.Errorf(control.Internal, "%w", err)
		}
		a.Error = e
	case file != nil:
		a.Name, a.Digest, a.Reading = file.Name[:min(len(file.Name), maxName)], hex.EncodeToString(file.Digest[:]), file.Reading
		rights = unix.UnixRights(int(file.File.Fd()))
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
func Receive(conn *net.UnixConn) (*File, error) {
	buf, oob := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	file, err := receivedFile(oob[:oobn])
	if err != nil {
		return nil, err
	}
	f, err := parseAnswer(buf[:n], file)
	if f == nil && file != nil {
		file.Close()
	}
	return f, err
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

func parseAnswer(b []byte, file *os.File) (*File, error) {
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
	f := &File{File: file, Name: a.Name, Reading: a.Reading}
	if len(a.Digest) != hex.EncodedLen(len(f.Digest)) {
		return nil, fmt.Errorf("receive a module: its digest is %q", a.Digest)
	}
	if _, err := hex.Decode(f.Digest[:], []byte(a.Digest)); err != nil {
		return nil, fmt.Errorf("receive a module: its digest is %q", a.Digest)
	}
	return f, nil
}
