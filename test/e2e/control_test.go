package e2e

import "testing"

// The control experiment: what these tests ask of the Wasm shim, runc's gives
// too, so a leak that they find is not containerd's own. (Its guests must not wait
// for the end of stdin, which ctr may send before the start and runc's shim then
// loses.)
func TestRuncContainerRunsAndLeavesNothing(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for range 3 {
			got := h.run(t, ctrRun{runtime: runc, image: "native", stdin: "in\n",
				args: []string{"/bin/busybox", "sh", "-c", "read x; echo $x; echo err >&2; exit 7"}})
			want(t, got, 7, "in\n", "err\n")
		}
	})
}
