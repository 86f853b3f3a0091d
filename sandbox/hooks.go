package sandbox

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Hooks are what the init has to do for the hooks of the spec.
type Hooks struct {
	// Await makes the init report that it is ready when its mounts are made and
	// before pivot_root, and wait for the start byte: that is when the caller
	// runs the hooks of prestart and createRuntime. The report of the program
	// comes after that as always.
	Await bool `json:"await,omitempty"`
	// CreateContainer are run by the init, in the container's namespaces, but
	// with the paths of the host, which are there until pivot_root.
	CreateContainer []specs.Hook `json:"createContainer,omitempty"`
	// State is the container's; the init adds its pid and status.
	State specs.State `json:"state"`
}

// Option changes what FromSpec does.
type Option func(*Config)

// WithForeignProgram says that the program is not the runner. Whoever spawns the
// init of a Config that Moves passes the runner as control.InitFD then.
func WithForeignProgram() Option {
	return func(c *Config) { c.Foreign = true }
}

// WithHooks says that the caller runs the hooks of the spec that belong into the
// runtime's namespaces, by RunHooks and RunEveryHook, at these moments:
//
//   - hooks.prestart and then hooks.createRuntime, status creating, when
//     AwaitsHooks is true and the init has reported that it is ready; then it
//     sends the start byte and receives the report of the program;
//   - hooks.poststart, status running, after the start of the guest and before
//     Start returns;
//   - hooks.poststop, status stopped, after the container is deleted and before
//     Delete returns, also when Create failed after a hook ran.
//
// state holds the container's id, bundle and annotations. Without this option
// FromSpec refuses a spec with hooks.
func WithHooks(state specs.State) Option {
	return func(c *Config) {
		if state.Version == "" {
			state.Version = specs.Version
		}
		c.Hooks = &Hooks{State: state}
	}
}

// AwaitsHooks says whether the init waits for the caller to run hooks.
func (c *Config) AwaitsHooks() bool { return c.Hooks != nil && c.Hooks.Await }

// hooks takes over hooks.
func (c *Config) hooks(spec *specs.Spec, _ *specs.Linux) error {
	h := spec.Hooks
	if h == nil {
		h = &specs.Hooks{}
	}
	for _, f := range hookLists(h) {
		if len(f.hooks) == 0 {
			continue
		}
		switch {
		case c.Hooks == nil:
			return invalid("%s is set (%s), but hooks are not run for this container; remove it or whatever injects it, such as a CDI device", f.field, f.hooks[0].Path)
		case f.field == "hooks.startContainer":
			// They would be native programs of the image, run between the start
			// of the task and that of the guest. The process that could run
			// them has become the runner long before, and given up execve.
			return invalid("%s is set (%s), but a Wasm container does not run native programs of its image; use createContainer, or remove it", f.field, f.hooks[0].Path)
		}
		for i := range f.hooks {
			if err := checkHook(fmt.Sprintf("%s[%d]", f.field, i), &f.hooks[i]); err != nil {
				return err
			}
		}
	}
	if c.Hooks == nil {
		return nil
	}
	//lint:ignore SA1019 a spec may still carry the deprecated field
	c.Hooks.Await = len(h.Prestart)+len(h.CreateRuntime) > 0
	c.Hooks.CreateContainer = h.CreateContainer
	if !c.Hooks.Await && len(h.CreateContainer) == 0 {
		c.Hooks = nil // the init has nothing to do
	}
	return nil
}

// HookNames returns the lists of hooks that run, for the features that the shim
// advertises.
func HookNames() []string {
	return []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"}
}

type hookList struct {
	field string
	hooks []specs.Hook
}

func hookLists(h *specs.Hooks) []hookList {
	return []hookList{
		//lint:ignore SA1019 a spec may still carry the deprecated field
		{"hooks.prestart", h.Prestart},
		{"hooks.createRuntime", h.CreateRuntime},
		{"hooks.createContainer", h.CreateContainer},
		{"hooks.startContainer", h.StartContainer},
		{"hooks.poststart", h.Poststart},
		{"hooks.poststop", h.Poststop},
	}
}

func checkHook(at string, h *specs.Hook) error {
	switch {
	case !filepath.IsAbs(h.Path) || hasNUL(h.Path):
		return invalid("%s.path: %q is not absolute; give the program by its absolute path on the host", at, h.Path)
	case h.Timeout != nil && *h.Timeout <= 0:
		return invalid("%s.timeout: %d seconds are not a time to wait; use at least 1 or remove it", at, *h.Timeout)
	}
	return nil
}

// argv is what the hook's program is executed with.
func hookArgv(h *specs.Hook) []string {
	if len(h.Args) == 0 {
		return []string{h.Path}
	}
	return h.Args
}

// hookEnv is the hook's environment: exactly that of the spec, and nothing of
// the shim's. Programs that are given none still expect to find others.
func hookEnv(h *specs.Hook) []string {
	if len(h.Env) == 0 {
		return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	return h.Env
}

// hookTimeout is 0 for a hook that may take as long as it likes.
func hookTimeout(h *specs.Hook) time.Duration {
	if h.Timeout == nil {
		return 0
	}
	return time.Duration(*h.Timeout) * time.Second
}

// tail keeps the last of what a hook prints, where programs say what went wrong.
type tail struct {
	kept []byte
	cut  bool
}

const maxTail = 2 << 10

func (t *tail) add(b []byte) {
	t.kept = append(t.kept, b...)
	if extra := len(t.kept) - maxTail; extra > 0 {
		t.kept, t.cut = append(t.kept[:0], t.kept[extra:]...), true
	}
}
