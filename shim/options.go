package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/pelletier/go-toml/v2"
	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/spelling"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// Options is the shim's configuration. It arrives as the runtime options of
// containerd, in TOML (CRI's options table, or `ctr run --runtime-config-path`)
// or as the runc shim's options message. The names that both shims know are
// runc's.
type Options struct {
	// SystemdCgroup makes runc create the cgroups of native containers
	// through systemd. Wasm containers tell the form of the path itself.
	SystemdCgroup bool `toml:"SystemdCgroup"`
	// BinaryName is the runc to use for native containers; empty means runc
	// in the daemon's PATH.
	BinaryName string `toml:"BinaryName"`
	// Root is where runc keeps the state of native containers.
	Root string `toml:"Root"`
	// NoPivotRoot, NoNewKeyring, IoUid, IoGid and CriuWorkPath are passed on
	// to runc for native containers.
	NoPivotRoot  bool   `toml:"NoPivotRoot"`
	NoNewKeyring bool   `toml:"NoNewKeyring"`
	IoUID        uint32 `toml:"IoUid"`
	IoGID        uint32 `toml:"IoGid"`
	CriuWorkPath string `toml:"CriuWorkPath"`
	// ShimCgroup is the cgroup that the shim's own process joins.
	ShimCgroup string `toml:"ShimCgroup"`
	// CacheDir is the node's directory of compiled code.
	CacheDir string `toml:"CacheDir"`
	// CacheSize is how much compiled code CacheDir may hold, in the form of
	// oci.ParseSize.
	CacheSize string `toml:"CacheSize"`
	// CompileTime is how much processor time one compilation may take, as package
	// time writes it, and CompileMemory how much memory.
	CompileTime   string `toml:"CompileTime"`
	CompileMemory string `toml:"CompileMemory"`
	// Landlock confines Wasm containers by Landlock where the kernel has it.
	Landlock bool `toml:"Landlock"`
	// AllowNative: containers that are not Wasm run in runc.
	AllowNative bool `toml:"AllowNative"`
	// UnprivilegedPorts and UnprivilegedICMP give a Pod without a pause container
	// the sysctls of CRI's settings enable_unprivileged_ports and
	// enable_unprivileged_icmp, which CRI carries out in pause containers alone.
	UnprivilegedPorts bool `toml:"UnprivilegedPorts"`
	UnprivilegedICMP  bool `toml:"UnprivilegedICMP"`
	// LogLevel is that of the shim's process, in the words of logrus; empty
	// leaves it to the daemon's.
	LogLevel string `toml:"LogLevel"`
	// MemoryLimit, MaxFiles, Drain, Preopens and DNSServer are what every guest
	// gets, in the form of the annotations of that meaning; those can only narrow
	// them, but for the last.
	MemoryLimit string `toml:"MemoryLimit"`
	MaxFiles    int    `toml:"MaxFiles"`
	Drain       string `toml:"Drain"`
	Preopens    string `toml:"Preopens"`
	DNSServer   string `toml:"DNSServer"`

	// guest is what the last five say; cacheSize, in bytes, and compile are what
	// CacheSize, CompileTime and CompileMemory say.
	guest     oci.Settings
	cacheSize int64
	compile   control.CompileLimits
}

const (
	// maxConfigFile bounds a configuration file.
	maxConfigFile = 1 << 20
)

func defaultOptions() *Options {
	return &Options{
		CacheDir:      compile.CacheDir(),
		CacheSize:     "10Gi",
		CompileTime:   "2m",
		CompileMemory: "2Gi",
		Landlock:      true,
		AllowNative:   true,

		UnprivilegedPorts: true,
		UnprivilegedICMP:  true,

		cacheSize: compile.DefaultCacheSize,
		compile:   compile.DefaultLimits(),
	}
}

// parseOptions reads runtime options of any type that a daemon sends. nil means
// none were set. Errors are errdefs.ErrInvalidArgument.
func parseOptions(any *anypb.Any) (*Options, error) {
	o := defaultOptions()
	if len(any.GetValue()) == 0 {
		return o, nil
	}
	if any.GetTypeUrl() == legacyOptions {
		return o, o.mergeLegacy(any.GetValue())
	}
	v, err := typeurl.UnmarshalAny(any)
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
			"runtime options of type %q are not known here; use TOML (an options table in containerd's configuration) or containerd.runc.v1.Options", any.GetTypeUrl()))
	}
	switch v := v.(type) {
	case *runcoptions.Options:
		return o, o.mergeRunc(v)
	case *runtimeoptions.Options:
		return o, o.mergeTOML(v)
	default:
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
			"runtime options of type %q are for another runtime; use TOML or containerd.runc.v1.Options", any.GetTypeUrl()))
	}
}

func (o *Options) mergeRunc(r *runcoptions.Options) error {
	o.SystemdCgroup = r.SystemdCgroup
	o.BinaryName = r.BinaryName
	o.Root = r.Root
	o.NoPivotRoot = r.NoPivotRoot
	o.NoNewKeyring = r.NoNewKeyring
	o.IoUID = r.IoUid
	o.IoGID = r.IoGid
	o.CriuWorkPath = r.CriuWorkPath
	o.ShimCgroup = r.ShimCgroup
	return nil
}

func (o *Options) mergeTOML(r *runtimeoptions.Options) error {
	name, body := "runtime options", r.ConfigBody
	if r.ConfigPath != "" {
		name = r.ConfigPath
		var err error
		if body, err = readConfigFile(r.ConfigPath); err != nil {
			// The path comes from outside, and may hold anything.
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("read configuration %q: %v", r.ConfigPath, err))
		}
	}
	d := toml.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(o); err != nil {
		if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
			key := strings.Join(strict.Errors[0].Key(), ".")
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
				"%s: unknown key %q%s; see docs/configuration.md for the known ones", name, key, spelling.Hint(key, optionKeys())))
		}
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: %v", name, err))
	}
	if err := o.check(); err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: %v", name, err))
	}
	return nil
}

// check reads what TOML has no type for.
func (o *Options) check() error {
	for _, option := range []struct {
		key  string
		set  bool
		read func() error
	}{
		{"CacheSize", true, func() (err error) { o.cacheSize, err = parseBytes(o.CacheSize); return }},
		{"CompileTime", true, func() (err error) { o.compile.Time, err = parseTime(o.CompileTime); return }},
		{"CompileMemory", true, func() (err error) { o.compile.Memory, err = parseBytes(o.CompileMemory); return }},
		{"LogLevel", o.LogLevel != "", func() error { _, err := logrus.ParseLevel(o.LogLevel); return err }},
		{"MemoryLimit", o.MemoryLimit != "", func() (err error) { o.guest.MemoryLimit, err = oci.ParseSize(o.MemoryLimit); return }},
		{"MaxFiles", o.MaxFiles != 0, func() (err error) { o.guest.MaxFiles, err = oci.ParseMaxFiles(strconv.Itoa(o.MaxFiles)); return }},
		{"Drain", o.Drain != "", func() (err error) { o.guest.Drain, err = oci.ParseDrain(o.Drain); return }},
		{"Preopens", o.Preopens != "", func() (err error) { o.guest.Preopens, err = oci.ParsePreopens(o.Preopens); return }},
		{"DNSServer", o.DNSServer != "", func() (err error) { o.guest.DNSServer, err = oci.ParseDNSServer(o.DNSServer); return }},
	} {
		if !option.set {
			continue
		}
		if err := option.read(); err != nil {
			return fmt.Errorf("%s: %w", option.key, err)
		}
	}
	return nil
}

func parseBytes(s string) (int64, error) {
	n, err := oci.ParseSize(s)
	return int64(min(n, math.MaxInt64)), err
}

func parseTime(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, errors.New("it is no time of at least a second; use one such as 30s or 2m")
	}
	return d, nil
}

// optionKeys lists the keys of Options.
func optionKeys() (keys []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		if f.IsExported() {
			keys = append(keys, f.Tag.Get("toml"))
		}
	}
	return keys
}

func readConfigFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, e.Err
	}
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxConfigFile {
		return nil, fmt.Errorf("it is not a regular file of at most %d bytes", maxConfigFile)
	}
	return os.ReadFile(path)
}

// runcAny returns the options in the form that the runc task service needs: it
// type-asserts them and panics on any other type.
func (o *Options) runcAny() (*anypb.Any, error) {
	return typeurl.MarshalAnyToProto(&runcoptions.Options{
		SystemdCgroup: o.SystemdCgroup,
		BinaryName:    o.BinaryName,
		Root:          o.Root,
		NoPivotRoot:   o.NoPivotRoot,
		NoNewKeyring:  o.NoNewKeyring,
		IoUid:         o.IoUID,
		IoGid:         o.IoGID,
		CriuWorkPath:  o.CriuWorkPath,
	})
}

// bootstrapOptions finds the runtime options among the extensions of the
// bootstrap parameters. Extensions of other types are not for us.
func bootstrapOptions(params *bootapi.BootstrapParams) (*Options, error) {
	for _, e := range params.GetExtensions() {
		v := e.GetValue()
		if typeurl.Is(v, &runcoptions.Options{}) || typeurl.Is(v, &runtimeoptions.Options{}) {
			return parseOptions(v)
		}
	}
	return parseOptions(nil)
}
