package shim

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	ctrshim "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/wasmshim/containerd-shim-wasm/internal/version"
)

// RuntimeName is the name by which containerd's configuration and ctr know this
// shim; containerd derives the binary's name from its last two parts.
const RuntimeName = "io.containerd.wasm.v1"

// Main runs the shim binary: `start`, `delete`, `-info`, `-v` or the server,
// as containerd's arguments ask. It exits the process on failure.
func Main(ctx context.Context) {
	args, err := parseArguments(os.Args[1:])
	if err != nil {
		fatal(err)
	}
	switch {
	case args.version:
		printVersion(os.Stdout)
	case args.action == "start":
		// pkg/shim answers `start` in protobuf only, which no daemon before
		// 2.3 understands; the rest of its command line never changed.
		if err := bootstrap(ctx, args, os.Stdin, os.Stdout); err != nil {
			fatal(err)
		}
	default:
		if args.action == "" {
			awaitAnswer()
			takeStartMarks()
		}
		besideLeader(func() { ctrshim.RunShim(ctx, bootManager{}) })
	}
}

func fatal(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", RuntimeName, err)
	os.Exit(1)
}

func printVersion(w io.Writer) {
	fmt.Fprintf(w, "%s:\n  Version:  %s\n", filepath.Base(os.Args[0]), version.Version)
}

// arguments is the part of containerd's command line that is decided before
// pkg/shim parses it again.
type arguments struct {
	namespace string
	address   string // containerd's gRPC address
	binary    string // containerd's binary
	id        string
	debug     bool
	version   bool
	action    string
}

func parseArguments(argv []string) (*arguments, error) {
	var a arguments
	set := flag.NewFlagSet(RuntimeName, flag.ContinueOnError)
	set.BoolVar(&a.debug, "debug", false, "enable debug output in logs")
	set.BoolVar(&a.version, "v", false, "show the shim's version and exit")
	set.BoolVar(&a.version, "version", false, "show the shim's version and exit")
	set.StringVar(&a.namespace, "namespace", "", "namespace that owns the shim")
	set.StringVar(&a.id, "id", "", "id of the task")
	set.StringVar(&a.address, "address", "", "grpc address back to containerd")
	set.StringVar(&a.binary, "publish-binary", "", "path of containerd's binary")
	// Not used before pkg/shim sees them; listed so that they parse.
	set.Bool("info", false, "read options from stdin, print runtime information to stdout and exit")
	set.String("socket", "", "socket path to serve")
	set.String("debug-socket", "", "debug socket path to serve")
	set.String("bundle", "", "path to the bundle if not the working directory")
	if err := set.Parse(argv); err != nil {
		return nil, err
	}
	a.action = set.Arg(0)
	return &a, nil
}
