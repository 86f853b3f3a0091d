package shim

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// byteSize is a number of bytes in a configuration, in the form of oci.ParseSize.
type byteSize int64

var byteUnits = [...]struct {
	suffix string
	shift  int
}{{"Ti", 40}, {"Gi", 30}, {"Mi", 20}, {"Ki", 10}, {"", 0}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := oci.ParseSize(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is no size; write a number of bytes above 0, such as \"512Mi\" or \"2Gi\"", text)
	}
	*b = byteSize(n)
	return nil
}

func (b byteSize) String() string {
	for _, u := range byteUnits {
		if n := int64(b) >> u.shift; n<<u.shift == int64(b) && n > 0 {
			return strconv.FormatInt(n, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// duration is a time in a configuration, as package time writes it.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < time.Second {
		return fmt.Errorf("%q is no time of at least a second; write it as \"30s\" or \"2m\"", text)
	}
	*d = duration(v)
	return nil
}

func (d duration) String() string {
	s := time.Duration(d).String()
	s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}

// checkLimits refuses what numbers without quotes can say. name is where they
// come from.
func (o *Options) checkLimits(name string) error {
	for _, size := range []struct {
		key   string
		value byteSize
	}{{"CacheSize", o.CacheSize}, {"CompileMemory", o.CompileMemory}} {
		if size.value <= 0 {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: %s is %d; write a number of bytes above 0, such as \"2Gi\"", name, size.key, size.value))
		}
	}
	if o.CompileTime < duration(time.Second) {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: CompileTime is less than a second; write it as \"30s\" or \"2m\"", name))
	}
	return nil
}
