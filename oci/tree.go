package oci

import (
	"path"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// maxMounts bounds the mounts of a spec. Each costs a walk; the kernel's own
// limit for a mount namespace (fs.mount-max) is 100,000.
const maxMounts = 4096

// tree is the file system that a container is going to see, before it exists:
// its root with the mounts of its spec on top. Only directories and files of
// bind mounts can be looked into; what any other mount will hold is not known
// until the kernel mounts it.
type tree struct {
	// root is an O_PATH descriptor of the root directory.
	root int
	// mounts holds the mounts by destination, in which every symbolic link is
	// resolved. Of two on the same path the later one is here, and a mount
	// hides the earlier ones below it, as it does in the kernel.
	mounts map[string]mount
	// above holds the directories on the way to a destination or to the working
	// directory. They exist in the container even if the image lacks them:
	// whoever builds the container makes them.
	above map[string]bool
}

// mount is one mount of the spec.
type mount struct {
	// source is the absolute path on the host of what a bind mount shows.
	// Empty when the content cannot be known.
	source string
	// name describes it for messages, such as "the tmpfs mount at /run".
	name string
}

// newTree opens rootfs, an absolute path on the host. The error is a
// *control.Error.
func newTree(rootfs string, mounts []specs.Mount) (*tree, error) {
	if len(mounts) > maxMounts {
		return nil, control.Errorf(control.InvalidArgument, "the spec has %d mounts; at most %d are supported", len(mounts), maxMounts)
	}
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		class := control.Internal
		if err == unix.ENOENT || err == unix.ENOTDIR {
			class = control.NotFound
		}
		return nil, control.Errorf(class, "open the root file system %s: %w", rootfs, err)
	}
	t := &tree{root: root, mounts: map[string]mount{}, above: map[string]bool{}}
	for _, m := range mounts {
		t.mount(m)
	}
	return t, nil
}

func (t *tree) close() { unix.Close(t.root) }

// mount puts one mount on top of the tree. One whose destination cannot be
// resolved is left out: whoever mounts it will report it.
func (t *tree) mount(m specs.Mount) {
	w, err := t.walk(m.Destination, true)
	if err != nil {
		return
	}
	dest := w.path()
	w.close()

	for d := range t.mounts {
		if d == dest || strings.HasPrefix(d, dest+"/") {
			delete(t.mounts, d)
		}
	}
	t.mounts[dest] = newMount(m, dest)
	t.make(path.Dir(dest))
}

// make notes that the directory dir, in which every link is resolved, and
// those above it are going to exist.
func (t *tree) make(dir string) {
	for ; !t.above[dir]; dir = path.Dir(dir) {
		t.above[dir] = true
	}
}

// makeCwd notes that the working directory of the process is going to exist:
// whoever builds the container makes it where the image lacks it.
func (t *tree) makeCwd(cwd string) {
	if w, err := t.walk(cwd, true); err == nil {
		t.make(w.path())
		w.close()
	}
}

func newMount(m specs.Mount, dest string) mount {
	bind := m.Type == "bind"
	for _, o := range m.Options {
		bind = bind || o == "bind" || o == "rbind"
	}
	switch {
	case bind && filepath.IsAbs(m.Source):
		return mount{source: m.Source, name: "the bind mount at " + dest}
	case bind:
		return mount{name: "the bind mount of a relative path at " + dest}
	case m.Type == "":
		return mount{name: "the mount at " + dest}
	default:
		return mount{name: "the " + m.Type + " mount at " + dest}
	}
}
