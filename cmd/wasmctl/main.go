// Command wasmctl is the tool for people who build and try Wasm images: it
// packs modules into images, tells whether modules and images would run, runs
// modules without a container, and looks after the compiled code of a node. It
// shares the code of the runtime, so that what it accepts is what runs.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wasmshim/containerd-shim-wasm/cmd/wasmctl/node"
	"github.com/wasmshim/containerd-shim-wasm/internal/version"
)

func main() { os.Exit(dispatch(os.Args)) }

// dispatch tells the program from the process that it starts to compile.
func dispatch(args []string) int {
	if args[0] == compileProcess {
		return compileMain()
	}
	return execute(args, os.Stdout, os.Stderr)
}

// execute runs the command line args and returns the exit code. A failure is
// one line on stderr.
func execute(args []string, stdout, stderr io.Writer) int {
	pack, check, compile := packCommand(), checkCommand(), node.CompileCommand()
	app := &cli.App{
		Name:      "wasmctl",
		Usage:     "build and try WebAssembly containers",
		Version:   version.Version,
		Writer:    stdout,
		ErrWriter: stderr,
		Commands:  []*cli.Command{pack, check, runCommand(), compile, node.CacheCommand()},
		// A value may hold commas: --env HOSTS=a,b is one variable.
		DisableSliceFlagSeparator: true,
		// The exit code is decided below, in one place.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("there is no command %q; see wasmctl --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = usageError
		for _, sub := range c.Subcommands {
			sub.OnUsageError = usageError
		}
	}
	// What follows the module of "run" is the guest's.
	for _, c := range []*cli.Command{pack, check, compile} {
		if len(args) > 2 && c.HasName(args[1]) {
			args = append(args[:2:2], flagsFirst(c.Flags, args[2:])...)
		}
	}
	err := app.Run(args)
	if err == nil {
		return 0
	}
	if s := err.Error(); s != "" {
		fmt.Fprintf(stderr, "wasmctl: %s\n", strings.ReplaceAll(s, "\n", "; "))
	}
	if e, ok := errors.AsType[cli.ExitCoder](err); ok {
		return e.ExitCode()
	}
	return 1
}

// usageError reports a wrong flag in one line; the default prints the whole
// help around it.
func usageError(c *cli.Context, err error, _ bool) error {
	name := c.Command.HelpName
	if name == "" {
		name = "wasmctl"
	}
	return fmt.Errorf("%w; see %s --help", err, name)
}
