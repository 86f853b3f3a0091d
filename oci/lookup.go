package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// file is a regular file of the container's tree.
type file struct {
	*os.File
	// name is where it was found, absolute in the container.
	name   string
	size   int64
	exec   bool // somebody may execute it
	format format
}

// lookup finds the file of a process in the tree of its container.
type lookup struct {
	tree    *tree
	process *specs.Process
	// layer looks beside the tree; nil if there is nothing.
	layer FindLayer
}

// find resolves a command as a shell does: one with a slash is a path,
// relative to the working directory; a bare name is searched in PATH.
//
// Two things differ from execvp(3), both for modules only. They need no
// execute bit, because images made by COPY have none. And a bare name that
// PATH does not know is looked up in the working directory, because images
// made for other Wasm runtimes have entrypoints such as ["app.wasm"]. Without
// PATH there is no default list, as in runc.
func (l lookup) find(command string) (*file, error) {
	if command == "" {
		return nil, unix.ENOENT
	}
	if strings.Contains(command, "/") {
		return l.open(l.absolute(command))
	}
	// The first file that is neither Wasm nor executable; it is what to talk
	// about when nothing better turns up.
	var fallback *file
	var missing error
	for _, dir := range append(l.searchPath(), "") {
		f, err := l.open(path.Join(l.absolute(dir), command))
		switch {
		case isAbsence(err):
			missing = moreTelling(missing, err)
		case err != nil:
			fallback.close()
			return nil, err
		case f.format.wasm, f.exec && dir != "":
			fallback.close()
			return f, nil
		case fallback == nil:
			fallback = f
		default:
			f.close()
		}
	}
	if fallback != nil {
		return fallback, nil
	}
	return nil, missing
}

// maxSearch bounds the directories of PATH that are searched.
const maxSearch = 1024

// searchPath is PATH of the process; of several the last counts, as in runc.
// An empty entry is the working directory.
func (l lookup) searchPath() []string {
	var dirs []string
	for _, kv := range l.process.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs = strings.Split(v, ":")
		}
	}
	if len(dirs) == 1 && dirs[0] == "" {
		return nil
	}
	dirs = dirs[:min(len(dirs), maxSearch)]
	for i, d := range dirs {
		if d == "" {
			dirs[i] = "."
		}
	}
	return dirs
}

// absolute makes a path of the process absolute. It does not clean it: ".."
// after a link is not what it looks like.
func (l lookup) absolute(p string) string {
	if strings.HasPrefix(p, "/") {
		return p
	}
	return strings.TrimSuffix("/"+strings.TrimPrefix(l.process.Cwd, "/"), "/") + "/" + p
}

func (l lookup) open(name string) (*file, error) {
	f, st, err := l.tree.open(name)
	if err != nil {
		return nil, err
	}
	format, err := sniffAt(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &file{File: f, name: path.Clean(name), size: st.Size, exec: st.Mode&0o111 != 0, format: format}, nil
}

func (f *file) close() {
	if f != nil {
		f.Close()
	}
}

// onlyModule finds the module of a container that has no args: the only *.wasm
// file in the root directory.
func (l lookup) onlyModule() (*file, error) {
	names, err := l.tree.modules()
	if err != nil {
		return nil, control.Errorf(control.Internal, "list the container's root: %w", err)
	}
	switch len(names) {
	case 0:
		return nil, control.Errorf(control.NotFound,
			`the container has neither an entrypoint nor a command, and no .wasm file in /; set the entrypoint, such as ["/app.wasm"]`)
	case 1:
		f, err := l.open("/" + names[0])
		if isAbsence(err) {
			return nil, l.absence("/"+names[0], err)
		}
		if err != nil {
			return nil, control.Errorf(control.Internal, "open %s in the container's root: %w", show("/"+names[0]), err)
		}
		return f, nil
	}
	var b strings.Builder
	for i, n := range names[:min(len(names), 4)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(show("/" + n))
	}
	if len(names) > 4 {
		b.WriteString(" and more")
	}
	return nil, control.Errorf(control.InvalidArgument,
		"the container has neither an entrypoint nor a command, and several candidates in /: %s; set the entrypoint to one of them", b.String())
}

// modules returns the names of the *.wasm files in the root directory, sorted.
// Links do not count: they would make one module two.
func (t *tree) modules() ([]string, error) {
	w, err := t.walk("/", false)
	if err != nil {
		return nil, err
	}
	defer w.close()
	var names []string
	for dest := range t.mounts {
		if path.Dir(dest) == "/" && strings.HasSuffix(dest, ".wasm") {
			names = append(names, dest[1:])
		}
	}
	if fd := w.top().fd; fd >= 0 {
		d, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		for err == nil {
			var entries []os.DirEntry
			entries, err = d.ReadDir(256)
			for _, e := range entries {
				if e.Type().IsRegular() && strings.HasSuffix(e.Name(), ".wasm") {
					names = append(names, e.Name())
				}
			}
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// isAbsence reports whether err says that there is no regular file at a path,
// as opposed to a failure of the node.
func isAbsence(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP, unix.ENAMETOOLONG, unix.EINVAL} {
		if err == e {
			return true
		}
	}
	switch err.(type) {
	case *coveredError, *kindError:
		return true
	}
	return false
}

// moreTelling returns which of two absences to report: the first that is more
// than "no such file".
func moreTelling(a, b error) error {
	if a == nil || a == unix.ENOENT {
		return b
	}
	return a
}

// absence is the sentence for a command that must be Wasm and is no file.
func (l lookup) absence(command string, reason error) error {
	where := show(path.Clean(l.absolute(command)))
	switch {
	case command == "":
		return control.Errorf(control.NotFound, "args[0] is empty; set the entrypoint to the path of the module")
	case !strings.Contains(command, "/"):
		where = show(command)
	}
	if _, ok := errors.AsType[*coveredError](reason); ok {
		return control.Errorf(control.InvalidArgument,
			"%s cannot be used as a module: %s; put the module into the image or into a volume", where, show(reason.Error()))
	}
	if e, ok := errors.AsType[*kindError](reason); ok {
		return control.Errorf(control.InvalidArgument,
			"%s is %s, not a WebAssembly module; set the entrypoint to the path of the module", where, e.kind)
	}
	const wayOut = "copy the module there or correct the entrypoint"
	why := ""
	if reason != unix.ENOENT {
		why = " (" + reason.Error() + ")"
	}
	if strings.Contains(command, "/") {
		return control.Errorf(control.NotFound, "%s does not exist in the container's file system%s; %s", where, why, wayOut)
	}
	dirs := "which is empty"
	if p := l.searchPath(); len(p) > 0 {
		dirs = "which is " + show(strings.Join(p, ":"))
	}
	return control.Errorf(control.NotFound, "%s was found neither in PATH, %s, nor in the working directory %s%s; %s",
		where, dirs, show(l.process.Cwd), why, wayOut)
}

// show prepares a string of the user for a sentence: short, and in quotes when
// it would break the line or be invisible.
func show(s string) string {
	const limit = 128
	if len(s) > limit {
		n := limit
		for n > limit-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return s
}
