package shim

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestGivesBackThePagesOfItsBinary(t *testing.T) {
	before := fileMemory(t)
	if err := unmapBinary(); err != nil {
		t.Fatal(err)
	}
	// What runs on from here comes back page by page.
	if after := fileMemory(t); after >= before {
		t.Errorf("%d KiB of files are mapped in, %d KiB before", after, before)
	}
}

// fileMemory returns RssFile of this process in KiB.
func fileMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nRssFile:")
	var size int
	if _, err := fmt.Sscan(rest, &size); err != nil {
		t.Fatal(err)
	}
	return size
}
