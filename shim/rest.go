package shim

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// restAfter is how long nothing was started when the shim gives memory back.
const restAfter = 2 * time.Second

// Go collects garbage when the heap has grown by so many percent, from 1.6 and from
// 4 MB on. pkg/shim asks for the first. Until its first container runs a shim allocates
// 1.9 MB, for which it collected three times, once within Create.
const (
	restingGC  = 40
	startingGC = 100
)

// rest gives memory back that only starting a container needed, once nothing
// was started for a while: a shim then waits for the whole life of its Pod.
type rest struct {
	timer *time.Timer
}

func newRest() *rest {
	debug.SetGCPercent(startingGC)
	return &rest{timer: time.AfterFunc(restAfter, giveBack)}
}

// busy puts the rest off.
func (r *rest) busy() { r.timer.Reset(restAfter) }

// giveBack returns the free heap to the kernel, and with it the pages of the
// binary: the kernel maps sixteen around each that is used, so that most of a
// binary is charged to a process that needs a tenth of it. What is needed again
// comes from the page cache without reading.
func giveBack() {
	debug.SetGCPercent(restingGC)
	debug.FreeOSMemory()
	if err := unmapBinary(); err != nil {
		log.L.WithError(err).Debug("give back pages of the binary")
	}
}

// unmapBinary drops the clean pages of the process's own binary from its
// mappings.
func unmapBinary() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if !strings.HasSuffix(lines.Text(), " "+self) {
			continue
		}
		var start, end uintptr
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &start, &end, &mode); err != nil {
			return err
		}
		if strings.Contains(mode, "w") {
			continue // what was written is not in the file
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
			return errno
		}
	}
	return lines.Err()
}
