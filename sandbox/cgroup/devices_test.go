package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func rule(allow bool, kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	d := specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Access: access}
	if major >= 0 {
		d.Major = &major
	}
	if minor >= 0 {
		d.Minor = &minor
	}
	return d
}

func TestDeviceListsThatTheKernelWouldNotHonourAreRefused(t *testing.T) {
	negative := rule(true, "c", 1, 3, "r")
	*negative.Minor = -5
	for _, list := range [][]specs.LinuxDeviceCgroup{
		{rule(false, "a", 1, 3, "rwm")},
		{rule(false, "a", -1, -1, "w")},
		{rule(true, "c", 1, 3, "")},
		{rule(true, "c", 1, 3, "rx")},
		{rule(true, "p", 1, 3, "r")},
		{negative},
		{rule(true, "c", 1<<33, 3, "r")},
		{rule(true, "c", 10, -1, "rw"), rule(false, "c", 10, 229, "w")}, // a hole in a wildcard
		{rule(true, "a", -1, -1, "rwm"), rule(false, "c", 10, 229, "w"), rule(true, "c", 10, -1, "w")},
	} {
		_, err := rulesOf(list)
		if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.InvalidArgument || !strings.Contains(e.Message, "linux.resources.devices[") {
			t.Errorf("%v: %v", list, err)
		}
	}
}

// deviceNode makes a node of /dev/null's numbers or others for the test.
func deviceNode(t *testing.T, kind uint32, major, minor uint32) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "device")
	if err := unix.Mknod(name, kind|0o666, int(unix.Mkdev(major, minor))); err != nil {
		t.Skip(err)
	}
	return name
}

func TestDevicesAreWhatTheListSays(t *testing.T) {
	deny := rule(false, "", -1, -1, "rwm")
	all := rule(true, "", -1, -1, "rwm")
	const ro, rw, wo = unix.O_RDONLY, unix.O_RDWR, unix.O_WRONLY
	for _, test := range []struct {
		name  string
		list  []specs.LinuxDeviceCgroup
		major uint32
		minor uint32
		flags int
		want  unix.Errno
	}{
		{"default list allows null", []specs.LinuxDeviceCgroup{deny}, 1, 3, rw, 0},
		{"no list at all allows null", nil, 1, 3, rw, 0},
		{"default list denies kmsg", []specs.LinuxDeviceCgroup{deny}, 1, 11, ro, unix.EPERM},
		{"no list at all denies kmsg", nil, 1, 11, ro, unix.EPERM},
		{"privileged", []specs.LinuxDeviceCgroup{all}, 1, 11, ro, 0},
		{"allow read: read", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, 11, "r")}, 1, 11, ro, 0},
		{"allow read: write", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, 11, "r")}, 1, 11, wo, unix.EPERM},
		{"allow read: both", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, 11, "r")}, 1, 11, rw, unix.EPERM},
		{"allow read of the major: read", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, -1, "r")}, 1, 11, ro, 0},
		{"allow read of the major: write", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, -1, "r")}, 1, 11, wo, unix.EPERM},
		{"allow read of the major: null stays writable", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, -1, "r")}, 1, 3, rw, 0},
		{"allow twice", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, 11, "r"), rule(true, "c", 1, 11, "w")}, 1, 11, rw, 0},
		{"taken back", []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, 11, "rw"), rule(false, "c", 1, 11, "w")}, 1, 11, wo, unix.EPERM},
		{"all but writing: read", []specs.LinuxDeviceCgroup{all, rule(false, "c", 1, 11, "w")}, 1, 11, ro, 0},
		{"all but writing: both", []specs.LinuxDeviceCgroup{all, rule(false, "c", 1, 11, "w")}, 1, 11, rw, unix.EPERM},
		{"deny comes last", []specs.LinuxDeviceCgroup{all, deny}, 1, 11, ro, unix.EPERM},
	} {
		for name, h := range hosts(t) {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				if err := h.checkDevices(deviceRules{}); err != nil {
					t.Skip(err)
				}
				node := deviceNode(t, unix.S_IFCHR, test.major, test.minor)
				if fd, err := unix.Open(node, test.flags|unix.O_NONBLOCK, 0); err != nil {
					t.Skip(err) // the sandbox of the test denies it
				} else {
					unix.Close(fd)
				}
				c := mustCreate(t, h, testPath(t, h), &specs.LinuxResources{Devices: test.list})
				cmd, release := spawn(t, c, fmt.Sprintf("open %d %s", test.flags, node))
				release()
				_ = cmd.Wait()
				if got := unix.Errno(cmd.ProcessState.ExitCode()); got != test.want {
					t.Errorf("open: %v, want %v", got, test.want)
				}
			})
		}
	}
}

func TestDefaultDevicesAreListedOnV1(t *testing.T) {
	h := v1Host(t, "devices")
	c := mustCreate(t, h, testPath(t, h), nil)
	b, err := os.ReadFile(filepath.Join(h.v1["devices"], c.Path(), "devices.list"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "a *:*") || strings.Count(string(b), "\n") != len(defaultDevices) || !strings.Contains(string(b), "c 136:* rwm\n") {
		t.Errorf("devices.list:\n%s", b)
	}
}
