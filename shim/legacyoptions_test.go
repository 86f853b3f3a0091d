package shim

import (
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestLegacyOptionsOfClientsBefore2(t *testing.T) {
	// io_uid 100000, io_gid 200000, shim_cgroup "/x", no_pivot_root, and a field
	// that means nothing here.
	b := []byte{10 << 3, 0xa0, 0x8d, 0x06, 11 << 3, 0xc0, 0x9a, 0x0c, 9<<3 | 2, 2, '/', 'x', 1 << 3, 1, 6<<3 | 2, 1, 'n'}
	o, err := parseOptions(&anypb.Any{TypeUrl: legacyOptions, Value: b})
	if err != nil {
		t.Fatal(err)
	}
	if o.IoUID != 100000 || o.IoGID != 200000 || o.ShimCgroup != "/x" || !o.NoPivotRoot || o.NoNewKeyring || o.CacheDir == "" {
		t.Errorf("got %+v", o)
	}
	if _, err := parseOptions(&anypb.Any{TypeUrl: legacyOptions, Value: b[:2]}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a message that is cut off: %v", err)
	}
}
