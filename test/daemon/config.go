package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// unused are plugins that the tests do not need and that would write outside the
// daemon's directories or look for what is not there. A version ignores those
// that it does not know.
var unused = []string{
	"io.containerd.grpc.v1.cri",
	"io.containerd.cri.v1.images",
	"io.containerd.cri.v1.runtime",
	"io.containerd.podsandbox.controller.v1.podsandbox",
	"io.containerd.nri.v1.nri",
	"io.containerd.snapshotter.v1.aufs",
	"io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper",
	"io.containerd.snapshotter.v1.erofs",
	"io.containerd.snapshotter.v1.zfs",
	"io.containerd.tracing.processor.v1.otlp",
	"io.containerd.internal.v1.tracing",
}

// writeConfig writes the daemon's config.toml. oom_score stays at 0, because
// lowering it needs CAP_SYS_RESOURCE; garbage is collected at each removal, so
// that a census after a test counts what is truly left.
func (d *Daemon) writeConfig() error {
	format := 3
	if strings.HasPrefix(d.Version, "1.") {
		format = 2
	}
	var quoted []string
	for _, p := range unused {
		if d.sandboxImage == "" || !slices.Contains(forKubelet, p) {
			quoted = append(quoted, fmt.Sprintf("%q", p))
		}
	}
	text := fmt.Sprintf(`version = %d
root = %q
state = %q
oom_score = 0
disabled_plugins = [%s]

[grpc]
  address = %q

[debug]
  address = %q
  level = %q

[plugins."io.containerd.gc.v1.scheduler"]
  deletion_threshold = 1
  schedule_delay = "10ms"

[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, format, d.path("root"), d.path("state"), strings.Join(quoted, ", "), d.Address(), d.path("debug.sock"), "debug", d.path("opt"))
	if d.sandboxImage != "" {
		text += d.criConfig(format)
	}
	return os.WriteFile(d.path("config.toml"), []byte(text), 0o600)
}

// forKubelet are those of unused that make the CRI service.
var forKubelet = []string{
	"io.containerd.grpc.v1.cri",
	"io.containerd.cri.v1.images",
	"io.containerd.cri.v1.runtime",
	"io.containerd.podsandbox.controller.v1.podsandbox",
}

// criConfig configures the CRI service. The score stays, as in writeConfig.
func (d *Daemon) criConfig(format int) string {
	runtime, image := "io.containerd.cri.v1.runtime", fmt.Sprintf(`
[plugins."io.containerd.cri.v1.images".registry]
  config_path = %q
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %q
`, d.Hosts(), d.sandboxImage)
	if format == 2 {
		runtime, image = "io.containerd.grpc.v1.cri", fmt.Sprintf(`
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = %q
`, d.Hosts())
	}
	text := image + fmt.Sprintf("\n[plugins.%q]\n  restrict_oom_score_adj = true\n  netns_mounts_under_state_dir = true\n", runtime)
	if format == 2 {
		text += fmt.Sprintf("  sandbox_image = %q\n", d.sandboxImage)
	}
	if d.Version == "2.4" {
		text += fmt.Sprintf(`
[plugins.%[1]q.containerd.runtimes.wasm-sandbox]
  runtime_type = "io.containerd.wasm.v1"
  sandboxer = "shim"
  disable_pause_image_pull = true
`, runtime)
	}
	if d.Version != "1.6" { // which does not know runtime_path
		// As an installer leaves it: the name alone leads to no program.
		text += fmt.Sprintf(`
[plugins.%[1]q.containerd.runtimes.wasm-by-path]
  runtime_type = "io.containerd.wasm-by-path.v1"
  runtime_path = %[2]q
`, runtime, d.Shim())
	}
	network := "bin_dirs = [%[3]q]"
	if d.Version != "2.4" && d.Version != "2.2" {
		network = "bin_dir = %[3]q"
	}
	return text + fmt.Sprintf(`
[plugins.%[1]q.cni]
  conf_dir = %[2]q
  `+network+`
[plugins.%[1]q.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.%[1]q.containerd.runtimes.wasm]
  runtime_type = "io.containerd.wasm.v1"
`, runtime, d.path("cni"), d.programs.Network)
}

func (d *Daemon) path(elem ...string) string {
	return filepath.Join(append([]string{d.Dir}, elem...)...)
}
