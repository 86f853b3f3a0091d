package shim

import (
	"fmt"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protowire"
)

// legacyOptions is the type of the runtime options that clients of containerd
// before 2.0 send to every runtime but runc's when the container has a user
// namespace: the message of the runtime of containerd 1.0, which its modules
// have no more.
const legacyOptions = "containerd.linux.runc.CreateOptions"

// mergeLegacy takes over the fields that are those of the runc shim's options. The
// others are set for a checkpoint alone.
func (o *Options) mergeLegacy(b []byte) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errLegacy(n)
		}
		b = b[n:]
		value := uint64(0)
		var text []byte
		switch kind {
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return errLegacy(n)
		}
		b = b[n:]
		switch field {
		case 1:
			o.NoPivotRoot = value != 0
		case 8:
			o.NoNewKeyring = value != 0
		case 9:
			o.ShimCgroup = string(text)
		case 10:
			o.IoUID = uint32(value)
		case 11:
			o.IoGID = uint32(value)
		case 12:
			o.CriuWorkPath = string(text)
		}
	}
	return nil
}

func errLegacy(n int) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("parse runtime options of type %s: %v", legacyOptions, protowire.ParseError(n)))
}
