package oci

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/spelling"
)

// AnnotationPrefix begins the annotations by which a container sets something
// about its guest. What follows it must be known: everything else is an error.
const AnnotationPrefix = "io.containerd.wasm.v1/"

// Settings are what the OCI spec has no field for. The runtime's configuration
// sets them for all containers, and the annotations of one for that one; its
// limits can only be lowered.
type Settings struct {
	// MemoryLimit caps the linear memory of a guest, in bytes; 0 is what 32 bits
	// address.
	MemoryLimit uint64
	// MaxFiles caps the descriptors that a guest has open at a time; 0 leaves it
	// to the runner.
	MaxFiles int
	// Drain is how long a guest that is asked to end may take for it; at 0 it
	// ends at once.
	Drain time.Duration
	// Preopens are the only directories that the guest gets; nil is its whole
	// root.
	Preopens []Preopen
	// Listeners and Outbound are as in Workload.
	Listeners, Outbound []string
	// DNSServer is as in Workload.
	DNSServer bool
}

// annotations maps what follows AnnotationPrefix to what sets it.
var annotations = map[string]func(s *Settings, value string) error{
	"memory-limit": func(s *Settings, v string) error { return lower(&s.MemoryLimit, v, ParseSize) },
	"max-files":    func(s *Settings, v string) error { return lower(&s.MaxFiles, v, ParseMaxFiles) },
	"drain": func(s *Settings, v string) (err error) {
		s.Drain, err = ParseDrain(v)
		return err
	},
	"preopens": (*Settings).narrow,
	"listen": func(s *Settings, v string) (err error) {
		s.Listeners, err = parseListeners(v)
		return err
	},
	// The runner, which has the container's resolver, reads the destinations.
	"allow-outbound": func(s *Settings, v string) error {
		s.Outbound = []string{}
		if v != "none" {
			s.Outbound = strings.Split(v, ",")
		}
		return nil
	},
	"dns-server": func(s *Settings, v string) (err error) {
		s.DNSServer, err = ParseDNSServer(v)
		return err
	},
}

// Annotate takes over the container's annotations. Those without
// AnnotationPrefix are somebody else's.
//
// Errors: *control.Error of class InvalidArgument that names the annotation.
func (s *Settings) Annotate(all map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		name, ours := strings.CutPrefix(key, AnnotationPrefix)
		if !ours {
			continue
		}
		set, known := annotations[name]
		if !known {
			return control.Errorf(control.InvalidArgument, "the annotation %s is not known%s; see docs/configuration.md",
				show(key), spelling.Hint(name, slices.Collect(maps.Keys(annotations))))
		}
		if err := set(s, all[key]); err != nil {
			return control.Errorf(control.InvalidArgument, "the annotation %s is %s: %w", key, show(all[key]), err)
		}
	}
	return nil
}

// Apply puts the settings into the description of a guest.
func (s *Settings) Apply(w *Workload) {
	w.MemoryLimit = s.MemoryLimit
	w.MaxFiles = s.MaxFiles
	w.Signals = s.Drain > 0
	w.Listeners, w.Outbound = s.Listeners, s.Outbound
	w.DNSServer = s.DNSServer
	if s.Preopens == nil {
		return
	}
	w.Preopens = slices.Clone(s.Preopens)
	if around := containing(s.Preopens, w.Cwd); around != nil {
		// Relative paths start in the working directory, with the rights there.
		w.Preopens = append(w.Preopens, Preopen{Host: w.Cwd, Guest: ".", ReadOnly: around.ReadOnly})
	}
}

// lower sets a limit, whose zero is none, unless that would raise it.
func lower[T int | uint64](limit *T, value string, parse func(string) (T, error)) error {
	v, err := parse(value)
	if err != nil {
		return err
	}
	if *limit != 0 && v > *limit {
		return fmt.Errorf("the node's configuration allows at most %d; lower the annotation, or raise the limit there", *limit)
	}
	*limit = v
	return nil
}

// narrow sets the preopens, each of which must be within those of the node's
// configuration, if there are any, and read-only where those are.
func (s *Settings) narrow(value string) error {
	asked, err := ParsePreopens(value)
	if err != nil {
		return err
	}
	if s.Preopens != nil {
		for _, p := range asked {
			around := containing(s.Preopens, p.Host)
			if around == nil || around.ReadOnly && !p.ReadOnly {
				return fmt.Errorf("the node's configuration does not allow %s; remove it, or allow it there", show(p.String()))
			}
		}
	}
	s.Preopens = asked
	return nil
}

// containing returns the innermost preopen that holds the directory, or nil.
func containing(preopens []Preopen, dir string) *Preopen {
	var found *Preopen
	for i, p := range preopens {
		inside := p.Host == "/" || p.Host == dir || strings.HasPrefix(dir, p.Host+"/")
		if inside && (found == nil || len(p.Host) > len(found.Host)) {
			found = &preopens[i]
		}
	}
	return found
}

// ParseSize reads a number of bytes: 1048576, 1024Ki, 1Mi.
func ParseSize(s string) (uint64, error) {
	digits, shift := s, 0
	for i, unit := range []string{"Ki", "Mi", "Gi", "Ti"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > ^uint64(0)>>shift {
		return 0, fmt.Errorf("it is no size; use a number of bytes, or one with Ki, Mi or Gi, such as 64Mi")
	}
	return n << shift, nil
}

// ParseMaxFiles reads a number of descriptors.
func ParseMaxFiles(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < MinFiles || n > MaxFiles {
		return 0, fmt.Errorf("it is no number of descriptors; use %d to %d", MinFiles, MaxFiles)
	}
	return n, nil
}

// MinFiles leaves room for the standard streams and the preopens; MaxFiles is
// the runner's own limit.
const (
	MinFiles = 16
	MaxFiles = 1 << 16
)

// ParseDrain reads the time of a drain, such as 30s.
func ParseDrain(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxDrain {
		return 0, fmt.Errorf("it is no time for a drain; use one such as 30s, at most %s", maxDrain)
	}
	return d, nil
}

// maxDrain bounds how long a guest that was told to end holds its resources.
const maxDrain = 24 * time.Hour

// ParseDNSServer reads whether a guest is told the container's name server.
func ParseDNSServer(s string) (bool, error) {
	if s != "resolv.conf" && s != "none" {
		return false, fmt.Errorf("it is no source of a name server; use resolv.conf or none, or set DNS_SERVER in the container's environment")
	}
	return s == "resolv.conf", nil
}

// maxPreopens and maxListeners bound what a runner opens before its guest runs.
const (
	maxPreopens  = 64
	maxListeners = 64
)

// ParsePreopens reads directories of the form /path, /path:rw or /path:ro, with
// commas between them.
func ParsePreopens(value string) ([]Preopen, error) {
	list := strings.Split(value, ",")
	if len(list) > maxPreopens {
		return nil, fmt.Errorf("%d directories are too many; name at most %d", len(list), maxPreopens)
	}
	preopens := []Preopen{}
	for _, entry := range list {
		entry = strings.TrimSpace(entry)
		dir, rights, _ := strings.Cut(entry, ":")
		if !path.IsAbs(dir) || strings.ContainsRune(dir, 0) || rights != "" && rights != "ro" && rights != "rw" {
			return nil, fmt.Errorf("%s is no directory with rights; use /path:ro or /path:rw", show(entry))
		}
		dir = path.Clean(dir)
		if slices.ContainsFunc(preopens, func(p Preopen) bool { return p.Guest == dir }) {
			return nil, fmt.Errorf("%s is named twice; remove one", show(dir))
		}
		preopens = append(preopens, Preopen{Host: dir, Guest: dir, ReadOnly: rights == "ro"})
	}
	return preopens, nil
}

func parseListeners(value string) ([]string, error) {
	list := strings.Split(value, ",")
	if len(list) > maxListeners {
		return nil, fmt.Errorf("%d addresses are too many; name at most %d", len(list), maxListeners)
	}
	var listeners []string
	for _, entry := range list {
		entry = strings.TrimSpace(entry)
		at, err := netip.ParseAddrPort(entry)
		if err != nil || at.Port() == 0 {
			return nil, fmt.Errorf("%s is no address with a port; use one such as 0.0.0.0:8080 or [::]:8080", show(entry))
		}
		listeners = append(listeners, at.String())
	}
	return listeners, nil
}
