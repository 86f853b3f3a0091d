package spelling

import (
	"strings"
	"testing"
)

func TestHintNamesTheNearestWord(t *testing.T) {
	known := []string{"SystemdCgroup", "CacheDir", "CacheSize", "MemoryLimit"}
	for unknown, want := range map[string]string{
		"SystemdCgruop":           ` (did you mean "SystemdCgroup"?)`,
		"systemd_cgroup":          ` (did you mean "SystemdCgroup"?)`,
		"CacheDIR":                ` (did you mean "CacheDir"?)`,
		"MemLimit":                ` (did you mean "MemoryLimit"?)`,
		"Colour":                  "",
		"":                        "",
		strings.Repeat("x", 1000): "",
	} {
		if got := Hint(unknown, known); got != want {
			t.Errorf("Hint(%.20q) is %s, want %s", unknown, got, want)
		}
	}
	if got := Hint("x", nil); got != "" {
		t.Errorf("without words the hint is %s", got)
	}
}
