package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/pelletier/go-toml/v2"
	"google.golang.org/protobuf/types/known/anypb"
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
}

const (
	// cacheDirEnv overrides the default cache directory for all containers of
	// a daemon; a runtime option overrides both.
	cacheDirEnv     = "CONTAINERD_SHIM_WASM_CACHE"
	defaultCacheDir = "/var/lib/containerd-shim-wasm/cache"

	// maxConfigFile bounds a configuration file.
	maxConfigFile = 1 << 20
)

// parseOptions reads runtime options of any type that a daemon sends. nil means
// none were set. Errors are errdefs.ErrInvalidArgument.
func parseOptions(any *anypb.Any) (*Options, error) {
	o := &Options{CacheDir: defaultCacheDir}
	if dir := os.Getenv(cacheDirEnv); dir != "" {
		o.CacheDir = dir
	}
	if len(any.GetValue()) == 0 {
		return o, nil
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
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("read configuration: %v", err))
		}
	}
	d := toml.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(o); err != nil {
		if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
				"%s: unknown key %q; see docs/configuration.md for the known ones", name, strings.Join(strict.Errors[0].Key(), ".")))
		}
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: %v", name, err))
	}
	return nil
}

func readConfigFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxConfigFile {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxConfigFile)
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
