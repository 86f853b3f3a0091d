package shim

import (
	"testing"
	"time"
)

func TestSizesOfAConfiguration(t *testing.T) {
	for text, want := range map[string]byteSize{
		"1": 1, "4096": 4096, "1Ki": 1 << 10, "512Mi": 512 << 20, "10Gi": 10 << 30, "1Ti": 1 << 40, "8388607Ti": 8388607 << 40,
	} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s is %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "0", "0Gi", "-1", "1.5Gi", "1G", "Gi", "1 Gi", "8388608Ti", "9223372036854775808"} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, b)
		}
	}
	for b, want := range map[byteSize]string{2 << 30: "2Gi", 1536 << 20: "1536Mi", 1000: "1000", 1 << 10: "1Ki"} {
		if got := b.String(); got != want {
			t.Errorf("%d prints as %s, want %s", int64(b), got, want)
		}
	}
}

func TestTimesOfAConfiguration(t *testing.T) {
	for text, want := range map[string]time.Duration{"1s": time.Second, "2m": 2 * time.Minute, "1h": time.Hour, "1m30s": 90 * time.Second} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v, %v", text, time.Duration(d), err)
		}
		if d.String() != text {
			t.Errorf("%s prints as %s", text, d)
		}
	}
	for _, text := range []string{"", "0", "10", "-1s", "999ms", "fast"} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %v", text, d)
		}
	}
}
