package oci

import (
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// newWorkload describes the guest of a process whose module was found at name.
//
// The guest gets the spec's args with the fragment cut off args[0], because a
// program expects its own path there, and the spec's environment in the spec's
// order. It sees its whole root directory as "/"; whether that is read-only is
// a matter of the mounts. A working directory other than "/" is a second
// preopen called ".", which is what wasi-libc and Rust's standard library
// resolve relative paths against.
func newWorkload(p *specs.Process, c candidate, name string) (*Workload, error) {
	if !path.IsAbs(p.Cwd) {
		return nil, control.Errorf(control.InvalidArgument, "process.cwd %s is not an absolute path; set the working directory to one", show(p.Cwd))
	}
	w := &Workload{
		Module:   name,
		Export:   c.export,
		Args:     slices.Clone(p.Args),
		Cwd:      path.Clean(p.Cwd),
		Preopens: []Preopen{{Host: "/", Guest: "/"}},
	}
	if w.Export == "_start" {
		w.Export = ""
	}
	if len(w.Args) == 0 {
		w.Args = []string{""}
	}
	w.Args[0] = c.path
	if w.Cwd != "/" {
		w.Preopens = append(w.Preopens, Preopen{Host: w.Cwd, Guest: "."})
	}
	for i, a := range w.Args {
		if err := checkNUL("process.args", i, a); err != nil {
			return nil, err
		}
	}
	if err := checkNUL("process.cwd", -1, w.Cwd); err != nil {
		return nil, err
	}
	var err error
	w.Env, err = environment(p.Env, w.Cwd)
	return w, err
}

// environment returns env as the guest gets it. As in runc, of two variables
// of a name the last counts, and what is not NAME=VALUE is refused.
//
// PWD is added when it is absent: WASI preview 1 has no working directory, and
// Go's wasip1 port takes its own from PWD.
func environment(env []string, cwd string) ([]string, error) {
	last := make(map[string]int, len(env))
	for i, kv := range env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, control.Errorf(control.InvalidArgument, "process.env[%d] %s is not of the form NAME=VALUE; correct or remove it", i, show(kv))
		}
		if err := checkNUL("process.env", i, kv); err != nil {
			return nil, err
		}
		last[name] = i
	}
	out := make([]string, 0, len(env)+1)
	for i, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); last[name] == i {
			out = append(out, kv)
		}
	}
	if _, ok := last["PWD"]; !ok {
		out = append(out, "PWD="+cwd)
	}
	return out, nil
}

// checkNUL refuses a string that a guest would see cut off, because it gets
// its args and environment as C strings. index is that of s in field, or -1.
func checkNUL(field string, index int, s string) error {
	if !strings.Contains(s, "\x00") {
		return nil
	}
	if index < 0 {
		return control.Errorf(control.InvalidArgument, "%s contains a NUL byte; remove it", field)
	}
	return control.Errorf(control.InvalidArgument, "%s[%d] contains a NUL byte; remove it", field, index)
}
