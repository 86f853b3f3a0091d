package shim

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/internal/launch"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// fitToSay fails the test if an error is no sentence for an operator.
func fitToSay(t *testing.T, err error) {
	t.Helper()
	s := err.Error()
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(s) > 16<<10 {
		t.Errorf("unfit for a message: %.300q of %d bytes", s, len(s))
	}
}

func bootstrapSeed(f *testing.F, m proto.Message, wrapped bool) []byte {
	f.Helper()
	if wrapped {
		a, err := typeurl.MarshalAnyToProto(m)
		if err != nil {
			f.Fatal(err)
		}
		m = a
	}
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzParseBootstrap holds that whatever is on stdin, the shim is the one that
// the command line names, that what an old daemon sends reaches the options as it
// is, and that every refusal can be said.
func FuzzParseBootstrap(f *testing.F) {
	dir := "/run/x"
	f.Add([]byte{})
	f.Add([]byte("\x0a\x01i\x12\x01n"))
	f.Add(bootstrapSeed(f, &bootapi.BootstrapParams{InstanceID: "i", Namespace: "n", SocketDir: &dir}, false))
	f.Add(bootstrapSeed(f, &bootapi.BootstrapParams{InstanceID: "other", Namespace: "n"}, false))
	f.Add(bootstrapSeed(f, &runcoptions.Options{BinaryName: "crun", SystemdCgroup: true}, true))
	f.Add(bootstrapSeed(f, &runtimeoptions.Options{ConfigBody: []byte("BinaryName = \"crun\"\n")}, true))
	f.Add(bootstrapSeed(f, &bootapi.BootstrapParams{InstanceID: "i", Namespace: "n", Extensions: []*bootapi.Extension{{}, {Value: &anypb.Any{TypeUrl: "a\nb"}}}}, false))
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, input []byte) {
		params, legacy, err := parseBootstrap(input, &arguments{namespace: "n", id: "i", address: "/grpc", debug: true})
		if err != nil {
			fitToSay(t, err)
			return
		}
		if params.GetInstanceID() != "i" || params.GetNamespace() != "n" {
			t.Errorf("legacy %v: foreign identity %v", legacy, params)
		}
		if legacy {
			if params.GetContainerdGrpcAddress() != "/grpc" || params.GetSocketDir() != "" || len(params.GetExtensions()) > 1 {
				t.Errorf("stdin of an old daemon has changed the parameters: %v", params)
			}
			if len(params.GetExtensions()) != min(len(input), 1) {
				t.Errorf("%d bytes became %d options", len(input), len(params.GetExtensions()))
			}
		}
		o, err := bootstrapOptions(params)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%T: %v", err, err)
			}
			fitToSay(t, err)
			return
		}
		reachesRunc(t, o)
	})
}

// reachesRunc fails the test if runc would get other options than these.
func reachesRunc(t *testing.T, o *Options) {
	t.Helper()
	a, err := o.runcAny()
	if err != nil {
		// protobuf has strings of UTF-8 alone.
		t.Errorf("%+v cannot be said to runc: %v", o, err)
		return
	}
	v, err := typeurl.UnmarshalAny(a)
	r, ok := v.(*runcoptions.Options)
	if err != nil || !ok || r.BinaryName != o.BinaryName || r.Root != o.Root || r.SystemdCgroup != o.SystemdCgroup || r.IoUid != o.IoUID {
		t.Errorf("%+v became %v: %v", o, v, err)
	}
}

// FuzzOptions holds of any TOML that it is refused in one sentence or leads to
// options in their bounds, the same by body and by file.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{
		"", "SystemdCgroup = true\nCacheDir = \"/c\"\n", "SystemdCgruop = true", "MemoryLimit = \"64Mi\"\nMaxFiles = 100\nDrain = \"30s\"\nPreopens = \"/data:ro\"\n",
		"MaxFiles = -9223372036854775808", "MaxFiles = 99999999999999999999", "IoUid = -1", "IoUid = 4294967296", "LogLevel = \"loud\"", "Drain = \"\\u0000\"",
		"[SystemdCgroup]\nx = 1", "guest = {MemoryLimit = 1}", "\"a\\nb\" = 1", "BinaryName = \"\"\"\n\xff\"\"\"", "AllowNative = false\nAllowNative = true", "a.b.c.d = [[[[1]]]]",
		"CacheDir = 1979-05-27T07:32:00Z", strings.Repeat("[", 5000), strings.Repeat("a.", 3000) + "a = 1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := typeurl.MarshalAnyToProto(&runtimeoptions.Options{ConfigBody: body})
		if err != nil {
			t.Fatal(err)
		}
		o, err := parseOptions(a)
		file := filepath.Join(t.TempDir(), "shim.toml")
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		b, fileErr := typeurl.MarshalAnyToProto(&runtimeoptions.Options{ConfigPath: file})
		if fileErr != nil {
			t.Fatal(fileErr)
		}
		fromFile, fileErr := parseOptions(b)
		if (err == nil) != (fileErr == nil) || err == nil && !reflect.DeepEqual(o, fromFile) {
			t.Errorf("as body: %+v, %v\nas file: %+v, %v", o, err, fromFile, fileErr)
		}
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%T: %v", err, err)
			}
			fitToSay(t, err)
			return
		}
		if g := o.guest; g.Drain < 0 || g.MaxFiles < 0 || g.MaxFiles > oci.MaxFiles || (g.MemoryLimit != 0) != (o.MemoryLimit != "") {
			t.Errorf("%q leads to %+v", body, g)
		}
		reachesRunc(t, o)
	})
}

// FuzzSpec takes a config.json the way of a Create, as far as nothing is made yet:
// it is read, its module is found, its annotations are applied and its sandbox is
// described. A container that could be made has a root and namespaces of its own,
// and its init gets exactly what was checked.
func FuzzSpec(f *testing.F) {
	bundle := f.TempDir()
	rootfs := filepath.Join(bundle, "rootfs")
	for name, data := range map[string]string{"app.wasm": "\x00asm\x01\x00\x00\x00", "dir/native": "\x7fELF"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(rootfs, name)), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(rootfs, name), []byte(data), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	const ok = `{"ociVersion":"1.3.0","root":{"path":"rootfs","readonly":true},"process":{"args":["/app.wasm"],"cwd":"/","user":{"uid":1}},"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]`
	for _, s := range []string{
		ok + `}}`,
		ok + `,"maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"],"sysctl":{"net.ipv4.ip_forward":"1"}},"hostname":"h"}`,
		ok + `,"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO"}]}},"annotations":{"io.containerd.wasm.v1/drain":"1s"}}`,
		ok + `},"mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","rro"]},{"destination":"/d\u0000","options":["bind"]}]}`,
		ok + `},"hooks":{"prestart":[{"path":"/bin/true","args":["x\u001b"],"timeout":-1}]}}`,
		ok + `,"devices":[{"path":"/dev/../../x","type":"c","major":1,"minor":3}],"rootfsPropagation":"shared"}}`,
		`{"process":{"args":["/app.wasm"],"cwd":"/","env":["\ud800=1"],"rlimits":[{"type":"RLIMIT_NOFILE","soft":18446744073709551615,"hard":1}]}}`,
		`{"root":{"path":"/"},"process":{"args":["dir/native#x"],"cwd":"/dir","capabilities":{"bounding":["CAP_X"]}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
			t.Fatal(err)
		}
		refused := func(err error) bool {
			if err == nil {
				return false
			}
			err = classify(err)
			if !errdefs.IsInvalidArgument(err) && !errdefs.IsNotFound(err) {
				t.Errorf("%T: %v", err, err)
			}
			fitToSay(t, err)
			return true
		}
		spec, err := oci.ReadSpec(bundle)
		if refused(err) {
			return
		}
		// The host's files are not this test's.
		for i := range spec.Mounts {
			spec.Mounts[i].Source = rootfs
		}
		spec.Root = &specs.Root{Path: "rootfs"}
		root, _, err := mountRootfs(&taskapi.CreateTaskRequest{Bundle: bundle}, spec)
		if err != nil || root != rootfs {
			t.Fatalf("%s, %v", root, err)
		}
		target, err := oci.Resolve(spec, root)
		if refused(err) || target.Kind == oci.Native {
			return
		}
		defer target.Module.Close()
		settings := defaultOptions().guest
		if refused(settings.Annotate(spec.Annotations)) {
			return
		}
		settings.Apply(target.Workload)
		if f, err := launch.Memfd("workload", target.Workload); err != nil {
			t.Error(err)
		} else {
			f.Close()
		}
		hooks := newHooks(spec, "id", bundle)
		c, err := sandbox.FromSpec(spec, root, runnerArgs("guest", target.Workload), sandbox.WithHooks(hooks.state))
		if refused(err) {
			return
		}
		checkSandbox(t, c, rootfs)
	})
}

func checkSandbox(t *testing.T, c *sandbox.Config, rootfs string) {
	t.Helper()
	const newMount = 0x20000 // CLONE_NEWNS
	if c.CloneFlags&newMount == 0 || c.Rootfs != rootfs || !filepath.IsAbs(c.Cwd) {
		t.Errorf("accepted without a root of its own: %+v", c)
	}
	for _, m := range c.Mounts {
		if !filepath.IsAbs(m.Destination) || strings.ContainsRune(m.Destination, 0) {
			t.Errorf("mounts at %q", m.Destination)
		}
	}
	for _, w := range c.Warnings {
		if strings.ContainsAny(w, "\n\x1b") {
			t.Errorf("warns %q", w)
		}
	}
	said, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var heard sandbox.Config
	if err := json.Unmarshal(said, &heard); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&heard)
	if err != nil || !bytes.Equal(said, again) {
		t.Errorf("said %s\nheard %s: %v", said, again, err)
	}
}

// FuzzExecProcess holds of the message of an Exec that it is a process or is
// refused in a sentence, and that the sandbox of one that is accepted enters the
// container instead of making anything.
func FuzzExecProcess(f *testing.F) {
	for _, s := range []string{
		`{"args":["ls"],"cwd":"/","user":{"uid":0}}`, `{"args":["a"],"cwd":"../x","terminal":true}`, `{"args":[],"cwd":"/"}`, `[]`, `{"args":["a"],"cwd":"/","apparmorProfile":"x\n"}`,
		`{"args":["a"],"cwd":"/","capabilities":{"effective":["CAP_SYS_ADMIN"],"bounding":["CAP_\u001b"]},"rlimits":[{"type":"RLIMIT_\n"}],"oomScoreAdj":-1001}`,
		`{"args":["a"],"cwd":"/","user":{"umask":4294967295,"additionalGids":[1,1,4294967295]},"consoleSize":{"height":18446744073709551615}}`,
	} {
		f.Add([]byte(s))
	}
	handle, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { handle.Close() })
	f.Fuzz(func(t *testing.T, message []byte) {
		var p specs.Process
		if json.Unmarshal(message, &p) != nil {
			return
		}
		c, err := sandbox.FromProcess(&p, nil, handle, []string{"runner"})
		if err != nil {
			if err = classify(err); !errdefs.IsInvalidArgument(err) {
				t.Errorf("%T: %v", err, err)
			}
			fitToSay(t, err)
			return
		}
		if !c.Enter || c.CloneFlags != 0 || len(c.Mounts) > 0 || c.Umask > 0o777 || !filepath.IsAbs(c.Cwd) {
			t.Errorf("%s leads to %+v", message, c)
		}
	})
}
