package oci

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// First bytes of the files that the tests put into images.
const (
	core      = "\x00asm\x01\x00\x00\x00"
	component = "\x00asm\x0d\x00\x01\x00"
	elf       = "\x7fELF\x02\x01\x01\x00"
)

// fill writes files into dir: a name ending in "/" is a directory, contents
// starting with "->" make a symbolic link, "|" a FIFO, "x:" an executable.
func fill(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		case strings.HasPrefix(data, "->"):
			err = os.Symlink(data[2:], p)
		case data == "|":
			err = unix.Mkfifo(p, 0o644)
		case strings.HasPrefix(data, "x:"):
			err = os.WriteFile(p, []byte(data[2:]), 0o755)
		default:
			err = os.WriteFile(p, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

type image map[string]string

// TestResolve states the rules of the lookup. want is "native", the path of
// the module that runs with its export and argv[0], or class and a part of the
// message.
func TestResolve(t *testing.T) {
	type ann = map[string]string
	compat := ann{"module.wasm.image/variant": "compat"}
	smart := ann{"module.wasm.image/variant": "compat-smart"}
	handler := ann{"run.oci.handler": "wasm"}
	const path = "PATH=/usr/bin:/bin"

	for _, tt := range []struct {
		name  string
		files image
		args  []string
		cwd   string
		env   []string
		ann   ann
		want  string
		class control.Class
	}{
		// Where args[0] is looked up.
		{name: "an absolute path", files: image{"app.wasm": core}, args: []string{"/app.wasm"}, want: "/app.wasm  /app.wasm"},
		{name: "a relative path starts at cwd", files: image{"w/bin/app.wasm": core}, args: []string{"bin/app.wasm"}, cwd: "/w", want: "/w/bin/app.wasm  bin/app.wasm"},
		{name: "a dot path starts at cwd", files: image{"w/app.wasm": core}, args: []string{"./app.wasm"}, cwd: "/w", want: "/w/app.wasm  ./app.wasm"},
		{name: "a working directory that the image lacks will be made", files: image{"app.wasm": core}, args: []string{"../../../app.wasm"}, cwd: "/w/x", want: "/app.wasm  ../../../app.wasm"},
		{name: "dot dot above the root is the root", files: image{"app.wasm": core}, args: []string{"/../../app.wasm"}, want: "/app.wasm  /../../app.wasm"},
		{name: "a bare name is searched in PATH", files: image{"bin/app": core}, args: []string{"app"}, env: []string{path}, want: "/bin/app  app"},
		{name: "the first of PATH wins", files: image{"bin/app": core, "usr/bin/app": core}, args: []string{"app"}, env: []string{path}, want: "/usr/bin/app  app"},
		{name: "the last PATH counts", files: image{"bin/app": core, "opt/app": core}, args: []string{"app"}, env: []string{"PATH=/bin", "PATH=/opt"}, want: "/opt/app  app"},
		{name: "a native program earlier in PATH wins", files: image{"bin/app": core, "usr/bin/app": "x:" + elf}, args: []string{"app"}, env: []string{path}, want: "native"},
		{name: "a text that cannot be executed does not stop the search", files: image{"bin/app": core, "usr/bin/app": "readme"}, args: []string{"app"}, env: []string{path}, want: "/bin/app  app"},
		{name: "a directory does not stop the search", files: image{"bin/app": core, "usr/bin/app/": ""}, args: []string{"app"}, env: []string{path}, want: "/bin/app  app"},
		{name: "an empty entry of PATH is cwd", files: image{"w/app": core}, args: []string{"app"}, cwd: "/w", env: []string{"PATH=/bin:"}, want: "/w/app  app"},
		{name: "a bare module is found in cwd at last", files: image{"w/app.wasm": core}, args: []string{"app.wasm"}, cwd: "/w", env: []string{path}, want: "/w/app.wasm  app.wasm"},
		{name: "a bare module is found in cwd without PATH", files: image{"app.wasm": core}, args: []string{"app.wasm"}, want: "/app.wasm  app.wasm"},
		{name: "a bare native program is not found in cwd", files: image{"app": "x:" + elf}, args: []string{"app"}, want: "native"},

		// What the content decides.
		{name: "a module needs no suffix", files: image{"server": core}, args: []string{"/server"}, want: "/server  /server"},
		{name: "native code is native", files: image{"bin/sh": "x:" + elf}, args: []string{"/bin/sh"}, want: "native"},
		{name: "native code called .wasm is native", files: image{"x.wasm": "x:" + elf}, args: []string{"/x.wasm"}, want: "native"},
		{name: "an empty file is native", files: image{"x": ""}, args: []string{"/x"}, want: "native"},
		{name: "a component is refused", files: image{"app.wasm": component}, args: []string{"/app.wasm"}, class: control.InvalidArgument,
			want: "/app.wasm is a WebAssembly component; this runtime runs core modules for now; build for wasm32-wasip1 instead of wasip2"},
		{name: "an unknown version is refused", files: image{"app.wasm": "\x00asm\x02\x00\x00\x00"}, args: []string{"/app.wasm"}, class: control.InvalidArgument,
			want: "/app.wasm is a WebAssembly file of unknown version 2, layer 0, not a WebAssembly module; build it again as a core module of version 1"},
		{name: "a module cut off in its header is refused", files: image{"app.wasm": "\x00asm\x01"}, args: []string{"/app.wasm"}, class: control.InvalidArgument,
			want: "ends within its header"},

		// path#export.
		{name: "a fragment names an export", files: image{"app.wasm": core}, args: []string{"/app.wasm#serve"}, want: "/app.wasm serve /app.wasm"},
		{name: "the fragment _start is the default", files: image{"app.wasm": core}, args: []string{"/app.wasm#_start"}, want: "/app.wasm  /app.wasm"},
		{name: "an export may hold a #", files: image{"app.wasm": core}, args: []string{"/app.wasm#wasi:cli/run@0.2.0#run"}, want: "/app.wasm wasi:cli/run@0.2.0#run /app.wasm"},
		{name: "a bare name may have a fragment", files: image{"bin/app": core}, args: []string{"app#go"}, env: []string{path}, want: "/bin/app go app"},
		{name: "a file may have a # in its name", files: image{"c#.wasm": core}, args: []string{"/c#.wasm"}, want: "/c#.wasm  /c#.wasm"},
		{name: "a file with a # and an export", files: image{"c#.wasm": core}, args: []string{"/c#.wasm#x"}, want: "/c#.wasm x /c#.wasm"},
		{name: "two readings are refused", files: image{"app.wasm": core, "app.wasm#x": core}, args: []string{"/app.wasm#x"}, class: control.InvalidArgument,
			want: "args[0] /app.wasm#x has two candidates: the file /app.wasm#x, and the export x of the file /app.wasm; rename one of the files"},
		{name: "two readings are refused when one is Wasm", files: image{"app.wasm": core, "app.wasm#x": "x:" + elf}, args: []string{"/app.wasm#x"}, class: control.InvalidArgument, want: "two candidates"},
		{name: "two native readings are runc's", files: image{"app": "x:" + elf, "app#x": "x:" + elf}, args: []string{"/app#x"}, want: "native"},
		{name: "an export of native code is refused", files: image{"bin/sh": "x:" + elf}, args: []string{"/bin/sh#x"}, class: control.InvalidArgument,
			want: "/bin/sh is an ELF program, not a WebAssembly module"},
		{name: "an empty export is refused", files: image{"app.wasm": core}, args: []string{"/app.wasm#"}, class: control.InvalidArgument, want: "names no export"},
		{name: "a fragment of a missing file", args: []string{"/app#x"}, class: control.NotFound, want: "/app does not exist"},

		// Markers.
		{name: "compat runs a module", files: image{"app": core}, args: []string{"/app"}, ann: compat, want: "/app  /app"},
		{name: "compat never runs native code", files: image{"app": "x:" + elf}, args: []string{"/app"}, ann: compat, class: control.InvalidArgument,
			want: "/app is an ELF program, not a WebAssembly module; build it for the target wasm32-wasip1, or remove the annotation module.wasm.image/variant=compat to run it as native code"},
		{name: "the handler never runs a script", files: image{"app": "x:#!/bin/sh"}, args: []string{"/app"}, ann: handler, class: control.InvalidArgument,
			want: "/app is a #! script, not"},
		{name: "a marked empty file", files: image{"app": ""}, args: []string{"/app"}, ann: handler, class: control.InvalidArgument, want: "/app is an empty file, not"},
		{name: "a marked text module", files: image{"app.wat": "(module)"}, args: []string{"/app.wat"}, ann: handler, class: control.InvalidArgument, want: "/app.wat is WebAssembly text, not a WebAssembly module; translate it with wat2wasm"},
		{name: "a marked missing file", args: []string{"/app"}, ann: handler, class: control.NotFound, want: "/app does not exist"},
		{name: "a marked program beside the module name", files: image{"app": "x:" + elf}, args: []string{"app"}, ann: handler, class: control.InvalidArgument, want: "/app is an ELF program"},
		{name: "smart leaves a sidecar native", files: image{"envoy": "x:" + elf}, args: []string{"/envoy"}, ann: smart, want: "native"},
		{name: "smart holds for a .wasm file", files: image{"app.wasm": "x:" + elf}, args: []string{"/app.wasm"}, ann: smart, class: control.InvalidArgument, want: "/app.wasm is an ELF program"},
		{name: "smart holds for a .wasm file with an export", files: image{"app.wasm": "x:" + elf}, args: []string{"/app.wasm#f"}, ann: smart, class: control.InvalidArgument, want: "/app.wasm is an ELF program"},
		{name: "the handler may be smart as well", files: image{"envoy": "x:" + elf}, args: []string{"/envoy"}, ann: ann{"run.oci.handler": "wasm-smart"}, want: "native"},
		{name: "the pause container of a marked Pod is native", files: image{"pause": "x:" + elf}, args: []string{"/pause"},
			ann: ann{"run.oci.handler": "wasm", "io.kubernetes.cri.container-type": "sandbox"}, want: "native"},

		// Files that are not there.
		{name: "a missing program is runc's", args: []string{"/bin/sh"}, want: "native"},
		{name: "a missing module", args: []string{"/app.wasm"}, class: control.NotFound,
			want: "/app.wasm does not exist in the container's file system; copy the module there or correct the entrypoint"},
		{name: "a missing module below cwd", args: []string{"bin/app.wasm"}, cwd: "/w", class: control.NotFound, want: "/w/bin/app.wasm does not exist"},
		{name: "a missing bare module", args: []string{"app.wasm"}, cwd: "/w", env: []string{path}, class: control.NotFound,
			want: "app.wasm was found neither in PATH, which is /usr/bin:/bin, nor in the working directory /w; copy"},
		{name: "a missing bare module without PATH", args: []string{"app.wasm"}, class: control.NotFound, want: "neither in PATH, which is empty, nor"},
		{name: "a file as a directory", files: image{"a": core}, args: []string{"/a/b.wasm"}, class: control.NotFound, want: "/a/b.wasm does not exist in the container's file system (not a directory)"},
		{name: "a module with a slash behind", files: image{"a.wasm": core}, args: []string{"/a.wasm/"}, want: "native"},
		{name: "a name with a line break is quoted", args: []string{"/a\nb.wasm"}, class: control.NotFound, want: `"/a\nb.wasm" does not exist`},
		{name: "a long name is cut", args: []string{"/" + strings.Repeat("a", 5000) + ".wasm"}, class: control.NotFound, want: "aaa… does not exist in the container's file system (file name too long)"},
		{name: "an empty marked command", args: []string{""}, ann: handler, class: control.NotFound, want: "args[0] is empty"},

		// Things that are no files.
		{name: "a directory as a module", files: image{"app.wasm/": ""}, args: []string{"/app.wasm"}, class: control.InvalidArgument, want: "/app.wasm is a directory, not"},
		{name: "a FIFO as a module", files: image{"app.wasm": "|"}, args: []string{"/app.wasm"}, class: control.InvalidArgument, want: "/app.wasm is a FIFO, not"},
		{name: "a FIFO without a marker is runc's", files: image{"app": "|"}, args: []string{"/app"}, want: "native"},

		// Without args.
		{name: "the only module of the root", files: image{"x.wasm": core, "readme": "", "sub/y.wasm": core}, want: "/x.wasm  /x.wasm"},
		{name: "a link does not count", files: image{"x.wasm": core, "y.wasm": "->x.wasm"}, want: "/x.wasm  /x.wasm"},
		{name: "no module", files: image{"readme": ""}, class: control.NotFound, want: "no .wasm file in /"},
		{name: "two modules", files: image{"b.wasm": core, "a.wasm": core}, class: control.InvalidArgument, want: "several candidates in /: /a.wasm, /b.wasm; set"},
		{name: "the only one is native", files: image{"x.wasm": "x:" + elf}, class: control.InvalidArgument, want: "/x.wasm is an ELF program"},

		// Links never reach the host.
		{name: "a link in the image", files: image{"app.wasm": core, "run": "->app.wasm"}, args: []string{"/run"}, want: "/run  /run"},
		{name: "an absolute link starts at the root", files: image{"lib/app": core, "run": "->/lib/app"}, args: []string{"/run"}, want: "/run  /run"},
		{name: "a link to a directory", files: image{"opt/v2/app": core, "opt/v1/": "", "cur": "->opt/v1", "opt/v1/x": "->../v2"}, args: []string{"/cur/x/app"}, want: "/cur/x/app  /cur/x/app"},
		{name: "dot dot after a link is the parent of its target", files: image{"a/b/": "", "a/app": core, "link": "->a/b"}, args: []string{"/link/../app"}, want: "/app  /link/../app"},
		{name: "a link to a file of the host", files: image{"app.wasm": "->/etc/passwd"}, args: []string{"/app.wasm"}, class: control.NotFound, want: "does not exist"},
		{name: "a link above the root", files: image{"app.wasm": "->../../../../../../../etc/passwd"}, args: []string{"/app.wasm"}, class: control.NotFound, want: "does not exist"},
		{name: "a link through procfs", files: image{"app.wasm": "->/proc/self/root/etc/passwd"}, args: []string{"/app.wasm"}, class: control.NotFound, want: "does not exist"},
		{name: "a loop of links", files: image{"a.wasm": "->b.wasm", "b.wasm": "->a.wasm"}, args: []string{"/a.wasm"}, class: control.NotFound, want: "too many levels of symbolic links"},

		// The process.
		{name: "NUL in args", files: image{"a.wasm": core}, args: []string{"/a.wasm", "x\x00y"}, class: control.InvalidArgument, want: "process.args[1] contains a NUL byte"},
		{name: "NUL in args[0]", args: []string{"/a\x00.wasm"}, class: control.NotFound, want: `"/a\x00.wasm" does not exist in the container's file system (invalid argument)`},
		{name: "NUL in env", files: image{"a.wasm": core}, args: []string{"/a.wasm"}, env: []string{"A=\x00"}, class: control.InvalidArgument, want: "process.env[0] contains a NUL byte"},
		{name: "env without =", files: image{"a.wasm": core}, args: []string{"/a.wasm"}, env: []string{"A"}, class: control.InvalidArgument, want: "process.env[0] A is not of the form NAME=VALUE"},
		{name: "a relative cwd", files: image{"a.wasm": core}, args: []string{"/a.wasm"}, cwd: "w", class: control.InvalidArgument, want: "process.cwd w is not an absolute path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rootfs := t.TempDir()
			fill(t, rootfs, tt.files)
			if tt.cwd == "" {
				tt.cwd = "/"
			}
			got, err := Resolve(&specs.Spec{
				Process:     &specs.Process{Args: tt.args, Env: tt.env, Cwd: tt.cwd},
				Annotations: tt.ann,
			}, rootfs)
			if tt.class != "" {
				wantError(t, err, tt.class, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s := describe(t, got); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// describe closes the target and returns "native" or what runs.
func describe(t testing.TB, got *Target) string {
	t.Helper()
	if got.Kind == Native {
		if got.Workload != nil || got.Module != nil {
			t.Errorf("a native target has a workload or a module: %+v", got)
		}
		return "native"
	}
	defer got.Module.Close()
	header := make([]byte, 8)
	if _, err := io.ReadFull(got.Module, header); err != nil || string(header) != core {
		t.Errorf("the module reads % x (%v) from where it is open", header, err)
	}
	if flags, err := unix.FcntlInt(got.Module.Fd(), unix.F_GETFL, 0); err != nil || flags&(unix.O_ACCMODE|unix.O_NONBLOCK) != unix.O_RDONLY {
		t.Errorf("the module is open with flags %o (%v)", flags, err)
	}
	if flags, err := unix.FcntlInt(got.Module.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the module is not close-on-exec (%v)", err)
	}
	return got.Workload.Module + " " + got.Workload.Export + " " + got.Workload.Args[0]
}

func wantError(t testing.TB, err error, class control.Class, part string) {
	t.Helper()
	e, ok := errors.AsType[*control.Error](err)
	if !ok {
		t.Fatalf("got %v, want a *control.Error of class %q", err, class)
	}
	if e.Class != class || !strings.Contains(e.Message, part) {
		t.Errorf("got class %q, message %q;\nwant class %q, message with %q", e.Class, e.Message, class, part)
	}
	if strings.ContainsAny(e.Message, "\n\x00") || len(e.Message) > 2000 {
		t.Errorf("the message is not one readable sentence: %q", e.Message)
	}
}

func TestWorkload(t *testing.T) {
	for _, tt := range []struct {
		name    string
		process specs.Process
		want    Workload
	}{
		{
			name:    "in the root directory",
			process: specs.Process{Args: []string{"/app.wasm", "-v", ""}, Env: []string{"B=1", "A=x=y"}, Cwd: "/"},
			want: Workload{
				Module: "/app.wasm", Args: []string{"/app.wasm", "-v", ""}, Env: []string{"B=1", "A=x=y", "PWD=/"},
				Cwd: "/", Preopens: []Preopen{{Host: "/", Guest: "/"}},
			},
		},
		{
			name:    "in a working directory",
			process: specs.Process{Args: []string{"/app.wasm#f"}, Env: []string{"PWD=/elsewhere"}, Cwd: "/data//x/../"},
			want: Workload{
				Module: "/app.wasm", Export: "f", Args: []string{"/app.wasm"}, Env: []string{"PWD=/elsewhere"},
				Cwd: "/data", Preopens: []Preopen{{Host: "/", Guest: "/"}, {Host: "/data", Guest: "."}},
			},
		},
		{
			name:    "of two variables the last counts",
			process: specs.Process{Args: []string{"/app.wasm"}, Env: []string{"A=1", "B=2", "A=3"}, Cwd: "/"},
			want: Workload{
				Module: "/app.wasm", Args: []string{"/app.wasm"}, Env: []string{"B=2", "A=3", "PWD=/"},
				Cwd: "/", Preopens: []Preopen{{Host: "/", Guest: "/"}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rootfs := t.TempDir()
			fill(t, rootfs, image{"app.wasm": core})
			before := append([]string(nil), tt.process.Args...)
			got, err := Resolve(&specs.Spec{Process: &tt.process}, rootfs)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Module.Close()
			if !reflect.DeepEqual(*got.Workload, tt.want) {
				t.Errorf("got  %+v\nwant %+v", *got.Workload, tt.want)
			}
			if !reflect.DeepEqual(before, tt.process.Args) {
				t.Errorf("the spec's args became %q", tt.process.Args)
			}
			if _, err := json.Marshal(got.Workload); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAModuleOverTheLimitIsRefused(t *testing.T) {
	rootfs := t.TempDir()
	fill(t, rootfs, image{"app.wasm": core})
	if err := os.Truncate(filepath.Join(rootfs, "app.wasm"), MaxModuleSize+1); err != nil {
		t.Fatal(err)
	}
	_, err := Resolve(&specs.Spec{Process: &specs.Process{Args: []string{"/app.wasm"}, Cwd: "/"}}, rootfs)
	wantError(t, err, control.InvalidArgument, "/app.wasm has 512 MiB, more than the 512 MiB")
}

func TestWithoutAProcessOrARoot(t *testing.T) {
	_, err := Resolve(&specs.Spec{}, t.TempDir())
	wantError(t, err, control.InvalidArgument, "has no process")
	_, err = Resolve(&specs.Spec{Process: &specs.Process{}}, filepath.Join(t.TempDir(), "rootfs"))
	wantError(t, err, control.NotFound, "open the root file system")
}

// TestResolveLeavesNothingOpen counts descriptors over lookups that end in
// every way.
func TestResolveLeavesNothingOpen(t *testing.T) {
	rootfs, vol := t.TempDir(), t.TempDir()
	fill(t, rootfs, image{
		"app.wasm": core, "app.wasm#x": core, "c.wasm": component, "bin/sh": "x:" + elf, "bin/t": "text", "f.wasm": "|",
		"l": "->/bin/../l2", "l2": "->app.wasm", "loop": "->loop",
	})
	fill(t, vol, image{"app.wasm": core})
	run := func() {
		for _, arg := range []string{"/app.wasm", "/app.wasm#x", "/c.wasm", "/bin/sh", "t", "sh", "/f.wasm", "/l", "/loop", "/vol/app.wasm", "/vol/no", "/tmp/x.wasm", "/bin/sh/x"} {
			for _, ann := range []map[string]string{nil, {"run.oci.handler": "wasm"}} {
				got, err := Resolve(&specs.Spec{
					Process:     &specs.Process{Args: []string{arg}, Env: []string{"PATH=/bin"}, Cwd: "/"},
					Annotations: ann,
					Mounts: []specs.Mount{
						{Destination: "/vol", Type: "bind", Source: vol},
						{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
						{Destination: "/loop/x", Type: "bind", Source: vol},
					},
				}, rootfs)
				if err == nil && got.Module != nil {
					got.Module.Close()
				}
			}
		}
		got, err := Resolve(&specs.Spec{Process: &specs.Process{}}, rootfs)
		if err == nil {
			t.Errorf("several modules in the root, but got %+v", got)
		}
	}
	run()
	before := openFiles(t)
	run()
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
