package shim

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// podConfig is what the shim has to know of a runtime.v1.PodSandboxConfig, the
// message of CRI.
//
// It is read field by field: the Go package of that message, whose types nothing
// else here uses, would cost every shim of a node 170 KB.
type podConfig struct {
	hostname string
	// dns is nil when the host's configuration is to be used.
	dns          *podDNS
	cgroupParent string
	sysctls      map[string]string
	network      namespaceMode
	pid          namespaceMode
	ipc          namespaceMode
	// userNamespace: the Pod has one, with these mappings.
	userNamespace bool
	uids, gids    []specs.LinuxIDMapping
}

type podDNS struct{ servers, searches, options []string }

// namespaceMode is CRI's NamespaceMode.
type namespaceMode uint64

const (
	namespacePod  namespaceMode = 0
	namespaceNode namespaceMode = 2
)

// podConfigType is the name of the message, as the last part of a type URL.
const podConfigType = "runtime.v1.PodSandboxConfig"

// parsePodConfig reads the options of a CreateSandbox; without any, a Pod has
// namespaces of its own and nothing else.
//
// Errors: errdefs.ErrInvalidArgument.
func parsePodConfig(options *anypb.Any) (*podConfig, error) {
	c := &podConfig{}
	url := options.GetTypeUrl()
	if url == "" {
		return c, nil
	}
	if url[strings.LastIndexByte(url, '/')+1:] != podConfigType {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("options of type %q do not describe a Pod; send %s", url, podConfigType))
	}
	if err := c.read(options.GetValue()); err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the Pod's configuration is no %s: %v", podConfigType, err))
	}
	return c, nil
}

func (c *podConfig) read(b []byte) error {
	return eachField(b, func(f field) (err error) {
		switch f.number {
		case 2:
			c.hostname, err = f.text()
		case 4:
			if c.dns == nil {
				c.dns = &podDNS{}
			}
			err = f.message(c.dns.read)
		case 8:
			err = f.message(c.readLinux)
		}
		return err
	})
}

func (d *podDNS) read(f field) error {
	list := map[protowire.Number]*[]string{1: &d.servers, 2: &d.searches, 3: &d.options}[f.number]
	if list == nil {
		return nil
	}
	s, err := f.text()
	*list = append(*list, s)
	return err
}

// readLinux reads LinuxPodSandboxConfig.
func (c *podConfig) readLinux(f field) (err error) {
	switch f.number {
	case 1:
		c.cgroupParent, err = f.text()
	case 2:
		err = f.message(func(f field) error { // LinuxSandboxSecurityContext
			if f.number != 1 {
				return nil
			}
			return f.message(c.readNamespaces)
		})
	case 3:
		err = c.readSysctl(f)
	}
	return err
}

func (c *podConfig) readSysctl(entry field) error {
	var pair [2]string
	err := entry.message(func(f field) (err error) {
		if f.number == 1 || f.number == 2 {
			pair[f.number-1], err = f.text()
		}
		return err
	})
	if c.sysctls == nil {
		c.sysctls = make(map[string]string)
	}
	c.sysctls[pair[0]] = pair[1]
	return err
}

// readNamespaces reads NamespaceOption.
func (c *podConfig) readNamespaces(f field) error {
	switch f.number {
	case 1:
		return f.mode(&c.network)
	case 2:
		return f.mode(&c.pid)
	case 3:
		return f.mode(&c.ipc)
	case 5:
		mode := namespacePod
		err := f.message(func(f field) error { // UserNamespace
			switch f.number {
			case 1:
				return f.mode(&mode)
			case 2:
				return f.mapping(&c.uids)
			case 3:
				return f.mapping(&c.gids)
			}
			return nil
		})
		if mode != namespacePod && mode != namespaceNode {
			return errors.New("the mode of its user namespace is neither POD nor NODE")
		}
		c.userNamespace = mode == namespacePod
		return err
	}
	return nil
}

// field is one field of a message: of wire type varint, or of bytes.
type field struct {
	number protowire.Number
	kind   protowire.Type
	varint uint64
	bytes  []byte
}

// eachField calls read for the fields of a message whose types this file knows.
func eachField(b []byte, read func(field) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := read(f); err != nil {
			return err
		}
	}
	return nil
}

var errWireType = errors.New("a field has the wrong type")

func (f field) text() (string, error) {
	if f.kind != protowire.BytesType {
		return "", errWireType
	}
	return string(f.bytes), nil
}

func (f field) message(read func(field) error) error {
	if f.kind != protowire.BytesType {
		return errWireType
	}
	return eachField(f.bytes, read)
}

func (f field) mode(to *namespaceMode) error {
	if f.kind != protowire.VarintType {
		return errWireType
	}
	*to = namespaceMode(f.varint)
	return nil
}

// mapping reads an IDMapping.
func (f field) mapping(to *[]specs.LinuxIDMapping) error {
	var m specs.LinuxIDMapping
	err := f.message(func(f field) error {
		part := map[protowire.Number]*uint32{1: &m.HostID, 2: &m.ContainerID, 3: &m.Size}[f.number]
		if part == nil {
			return nil
		}
		if f.kind != protowire.VarintType {
			return errWireType
		}
		*part = uint32(f.varint)
		return nil
	})
	*to = append(*to, m)
	return err
}
