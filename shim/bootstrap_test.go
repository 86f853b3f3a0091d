package shim

import (
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
)

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func anyOf(t *testing.T, m proto.Message) []byte {
	t.Helper()
	a, err := typeurl.MarshalAnyToProto(m)
	if err != nil {
		t.Fatal(err)
	}
	return marshal(t, a)
}

func TestBootstrapTellsTheProtocolsApart(t *testing.T) {
	args := &arguments{namespace: "k8s.io", id: "pod", address: "/run/c.sock", debug: true}
	dir := "/run/x"
	for name, test := range map[string]struct {
		input  []byte
		legacy bool
		socket string
		runc   string
	}{
		"nothing on stdin (1.6)":      {nil, true, "", ""},
		"runtime options (1.6 - 2.2)": {anyOf(t, &runcoptions.Options{BinaryName: "crun"}), true, "", "crun"},
		"TOML options (1.7 - 2.2)":    {anyOf(t, &runtimeoptions.Options{ConfigBody: []byte(`BinaryName = "crun"`)}), true, "", "crun"},
		"bootstrap parameters (2.3)":  {marshal(t, &bootapi.BootstrapParams{InstanceID: "pod", Namespace: "k8s.io", SocketDir: &dir}), false, dir, ""},
	} {
		t.Run(name, func(t *testing.T) {
			params, legacy, err := parseBootstrap(test.input, args)
			if err != nil {
				t.Fatal(err)
			}
			if legacy != test.legacy || params.GetInstanceID() != "pod" || params.GetNamespace() != "k8s.io" || params.GetSocketDir() != test.socket {
				t.Errorf("legacy = %v, params = %v", legacy, params)
			}
			if legacy && (params.GetContainerdGrpcAddress() != "/run/c.sock" || params.GetLogLevel() != bootapi.LogLevel_LOG_LEVEL_DEBUG) {
				t.Errorf("the command line is lost: %v", params)
			}
			o, err := bootstrapOptions(params)
			if err != nil {
				t.Fatal(err)
			}
			if o.BinaryName != test.runc {
				t.Errorf("BinaryName = %q, want %q", o.BinaryName, test.runc)
			}
		})
	}
}

func TestBootstrapRefusesGarbage(t *testing.T) {
	if _, _, err := parseBootstrap([]byte{0xff, 0xff, 0xff}, &arguments{namespace: "n", id: "i"}); err == nil {
		t.Error("no error")
	}
}
