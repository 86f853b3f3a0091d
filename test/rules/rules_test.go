package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/wasmshim/containerd-shim-wasm"

// checkout is the repository's root, seen from this package.
const checkout = "../.."

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	// By directory and not by `go list`, to see guests and modules of their own.
	docs := map[string]bool{}
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(checkout, file), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		begins := "Package " + f.Name.Name + " "
		if f.Name.Name == "main" {
			begins = "Command "
		}
		dir := path.Dir(file)
		docs[dir] = docs[dir] || f.Doc != nil && strings.HasPrefix(f.Doc.Text(), begins)
	}
	for dir, ok := range docs {
		if !ok {
			t.Errorf("%s has no comment that begins with \"Package …\" or \"Command …\"", dir)
		}
	}
}

// The runner is started for every container: what it links costs every one of
// them time and memory.
func TestRunnerLinksNothingOfTheShimsSide(t *testing.T) {
	for _, p := range list(t, []string{"CGO_ENABLED=1"}, "-deps", "./cmd/wasm-runner") {
		for _, forbidden := range []string{
			"github.com/containerd/", "google.golang.org/grpc", "google.golang.org/protobuf",
			"github.com/gogo/protobuf", module + "/shim",
		} {
			if strings.HasPrefix(p.ImportPath, forbidden) {
				t.Errorf("cmd/wasm-runner depends on %s", p.ImportPath)
			}
		}
		if !p.Standard && len(p.CgoFiles) > 0 {
			t.Errorf("cmd/wasm-runner depends on %s, which uses cgo", p.ImportPath)
		}
	}
}

// A shim lives as long as its Pod: what it links costs every one of them memory.
func TestShimLinksNoGRPC(t *testing.T) {
	for _, p := range list(t, nil, "-tags", "no_grpc", "-deps", "./cmd/containerd-shim-wasm-v1") {
		if p.ImportPath == "google.golang.org/grpc" || p.ImportPath == "net/http" {
			t.Errorf("cmd/containerd-shim-wasm-v1 depends on %s", p.ImportPath)
		}
	}
}

// What answers a `delete` is initialised before what imports more than it does.
func TestTheFrontOfDeleteImportsNextToNothing(t *testing.T) {
	for _, p := range list(t, nil, "./shim/deleted") {
		for _, imported := range p.Imports {
			if !slices.Contains([]string{"errors", "os", "path/filepath", "strings", "syscall"}, imported) {
				t.Errorf("shim/deleted imports %s", imported)
			}
		}
	}
}

// rooms are the top-level packages, and what each may import of the others. A
// package below a room is part of it unless it is a room of its own. Packages
// in the top-level internal directory are leaves and open to all.
var rooms = map[string][]string{
	"oci":              nil,
	"wasi":             nil,
	"sandbox":          nil,
	"sandbox/cgroup":   nil,
	"runner/codecache": nil,
	"image":            {"oci", "oci/layers"},
	"oci/layers":       {"oci"},
	"sandbox/harden":   {"sandbox"}, // its generator does
	"runner":           {"oci", "wasi", "runner/codecache", "sandbox/harden"},
	"compile":          {"oci", "sandbox", "sandbox/cgroup", "runner/codecache"},
	"fetch":            {"oci/layers", "runner/codecache"},
	"shim":             {"oci", "sandbox", "sandbox/cgroup", "runner/codecache", "compile"},

	"deploy/image": nil,
	"deploy/node":  nil, // it installs files and knows nothing of them

	"cmd/containerd-shim-wasm-v1": {"shim"},
	"cmd/wasm-fetch":              {"fetch"},
	"cmd/wasm-runner":             {"runner", "sandbox"},
	"cmd/wasm-node-installer":     {"deploy/node"},
	"cmd/wasmctl":                 {"image", "oci", "oci/layers", "runner", "runner/codecache", "compile"},
}

// room returns the room of a package of this module: "" if it is in none, and
// ok is false for packages that are open to all.
func room(importPath string) (name string, ok bool) {
	path, ours := strings.CutPrefix(importPath, module+"/")
	if !ours || strings.HasPrefix(path, "internal/") {
		return "", false
	}
	for path != "." {
		if _, is := rooms[path]; is {
			return path, true
		}
		path = filepath.Dir(path)
	}
	return "", true
}

func TestArrowsBetweenRoomsPointOneWay(t *testing.T) {
	for _, p := range list(t, nil, "./...") {
		if strings.HasPrefix(p.ImportPath, module+"/test/") {
			continue
		}
		from, ok := room(p.ImportPath)
		if ok && from == "" {
			t.Errorf("%s is in no room: add it to rooms with what it may import", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			to, restricted := room(imported)
			if restricted && to != from && !slices.Contains(rooms[from], to) {
				t.Errorf("%s imports %s; it may import %v of other rooms", p.ImportPath, imported, rooms[from])
			}
		}
	}
}

func TestFilesAreAboutOneThing(t *testing.T) {
	const most = 450
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(checkout, file))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(b, []byte("\n")); lines > most {
			t.Errorf("%s has %d lines: split it (at most %d)", file, lines, most)
		}
	}
}

// Paths of somebody's machine work on that machine only.
var machinePath = regexp.MustCompile(`(^|[\s"'=:(])/(work/(main|shared)|root/[.a-z]|tmp/scratch)`)

func TestTrackedFilesNameNoMachinesPaths(t *testing.T) {
	for _, file := range tracked(t) {
		b, err := os.ReadFile(filepath.Join(checkout, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if at := machinePath.FindIndex(b); at != nil {
			t.Errorf("%s:%d: %q", file, 1+bytes.Count(b[:at[0]], []byte("\n")), b[at[0]:min(at[1]+20, len(b))])
		}
	}
}

func TestNoBinaryIsTracked(t *testing.T) {
	for _, file := range tracked(t) {
		b, err := os.ReadFile(filepath.Join(checkout, file))
		if err != nil {
			continue
		}
		for _, magic := range []string{"\x00asm", "\x7fELF", "!<arch>"} {
			if bytes.HasPrefix(b, []byte(magic)) {
				t.Errorf("%s is a binary: tests build what they need from sources", file)
			}
		}
	}
}

// tracked returns the files that are or would be committed, by their paths in
// the repository.
func tracked(t *testing.T) []string {
	t.Helper()
	out := run(t, nil, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	return strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
}

func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, f := range tracked(t) {
		if _, err := os.Stat(filepath.Join(checkout, f)); err == nil && strings.HasSuffix(f, ".go") {
			files = append(files, f)
		}
	}
	return files
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath        string
	Standard          bool
	Imports, CgoFiles []string
}

func list(t *testing.T, env []string, args ...string) []goPackage {
	t.Helper()
	out := run(t, env, "go", append([]string{"list", "-json=ImportPath,Standard,Imports,CgoFiles"}, args...)...)
	var packages []goPackage
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}
