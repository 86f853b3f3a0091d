package shim

import (
	"reflect"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

func TestAGuestReachesItsPreopensAndTheRunnersFiles(t *testing.T) {
	guest := &oci.Target{Kind: oci.Wasm, Workload: &oci.Workload{Preopens: []oci.Preopen{
		{Host: "/data", Guest: "/data"}, {Host: "/static", Guest: "/", ReadOnly: true},
	}}}
	guest.Workload.TerminationLog = "/dev/termination-log"
	command := &oci.Target{Kind: oci.Native, Workload: &oci.Workload{}}
	confined := &container{options: &Options{Landlock: true}}
	want := []sandbox.Reach{
		{Path: "/etc/hosts"}, {Path: "/etc/resolv.conf"}, {Path: "/dev/termination-log", Write: true},
		{Path: "/data", Write: true, Control: true}, {Path: "/static", Control: true},
	}
	if got := confined.reach(guest); !reflect.DeepEqual(got, want) {
		t.Errorf("a guest reaches %+v, want %+v", got, want)
	}
	if got := confined.reach(command); got != nil {
		t.Errorf("a built-in command is confined to %+v", got)
	}
	if got := (&container{options: &Options{}}).reach(guest); got != nil {
		t.Errorf("with Landlock = false a guest is confined to %+v", got)
	}
	if o, err := parseOptions(nil); err != nil || !o.Landlock {
		t.Errorf("by default Landlock is %v, %v", o.Landlock, err)
	}
}
