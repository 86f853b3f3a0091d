// Command wasm-node-installer installs the shim on a node, upgrades it, verifies it
// and removes it; in a DaemonSet it does so on every node of a cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wasmshim/containerd-shim-wasm/deploy/node"
	"github.com/wasmshim/containerd-shim-wasm/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args, os.Stdout, os.Stderr))
}

// execute runs the command line args and returns the exit code. A failure is one
// line on stderr.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:      "wasm-node-installer",
		Usage:     "install containerd-shim-wasm-v1 on a node",
		Version:   version.Version,
		Writer:    stdout,
		ErrWriter: stderr,
		Flags:     nodeFlags(),
		Commands: []*cli.Command{
			{Name: "install", Usage: "install or upgrade the shim; the node is left as it was when that fails", Action: install},
			{Name: "verify", Usage: "say whether the shim is installed and containerd serves it", Action: verify},
			{Name: "uninstall", Usage: "remove the shim", Action: uninstall, Flags: []cli.Flag{force}},
			{Name: "recover", Usage: "undo what a killed installer has left; every other command does so first", Action: recoverNode},
			{Name: "agent", Usage: "install, label the node, and keep both so: for a DaemonSet", Action: agent, Flags: []cli.Flag{
				&cli.StringFlag{Name: "node-name", Usage: "this node's `NAME` in the cluster", EnvVars: []string{"NODE_NAME"}, Required: true},
				readyFile,
			}},
			{Name: "ready", Usage: "say whether the agent has done its work: for a readiness probe", Action: ready, Flags: []cli.Flag{readyFile}},
			{Name: "uninstall-all", Usage: "have the agents of all nodes of the cluster uninstall", Action: uninstallAll, Flags: []cli.Flag{
				force,
				&cli.DurationFlag{Name: "patience", Usage: "how long to wait for the nodes", Value: 5 * time.Minute},
			}},
		},
		// A value may hold commas: --option Preopens=/data,/etc is one option.
		DisableSliceFlagSeparator: true,
		HideHelpCommand:           true,
		// The exit code is decided below, in one place.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("there is no command %q; see wasm-node-installer --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError, c.Before = usageError, noArguments
	}
	if err := app.RunContext(ctx, args); err != nil {
		fmt.Fprintf(stderr, "wasm-node-installer: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		return 1
	}
	return 0
}

var force = &cli.BoolFlag{Name: "force", Usage: "even while Pods of the handler run"}

var readyFile = &cli.StringFlag{Name: "ready-file", Usage: "`FILE` of the agent's own that says that all is well", Value: "/run/agent/ready"}

func nodeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "host-root", Usage: "`DIR` where the node's root is seen; all other paths are the node's", Value: "/", EnvVars: []string{"HOST_ROOT"}},
		&cli.StringFlag{Name: "programs", Usage: "`DIR` of the shim and the runner to install", DefaultText: "this program's"},
		&cli.StringFlag{Name: "prefix", Usage: "`DIR` on the node for the programs", Value: node.DefaultPrefix},
		&cli.StringFlag{Name: "state", Usage: "`DIR` on the node for the journal", Value: node.DefaultState},
		&cli.StringFlag{Name: "handler", Usage: "`NAME` for RuntimeClasses", Value: node.DefaultHandler},
		&cli.StringSliceFlag{Name: "option", Usage: "an option `KEY=VALUE` of the shim, as in docs/configuration.md; may be repeated"},
		&cli.StringFlag{Name: "layout", Usage: strings.Join(node.LayoutNames(), ", "), DefaultText: "found"},
		&cli.StringFlag{Name: "config", Usage: "`FILE` of containerd's configuration", DefaultText: "the layout's"},
		&cli.StringFlag{Name: "containerd", Usage: "containerd's program, `FILE`", DefaultText: "the layout's"},
		&cli.StringFlag{Name: "socket", Usage: "containerd's `SOCKET`", DefaultText: "the layout's"},
		&cli.StringFlag{Name: "unit", Usage: "systemd's `UNIT` that runs containerd", DefaultText: "the layout's"},
		&cli.StringFlag{Name: "restart-command", Usage: "`LINE` for the node's /bin/sh that restarts containerd, where there is no systemd"},
	}
}

func config(c *cli.Context) (node.Config, error) {
	programs := c.String("programs")
	if programs == "" {
		self, err := os.Executable()
		if err != nil {
			return node.Config{}, err
		}
		programs = filepath.Dir(self)
	}
	options := map[string]any{}
	for _, o := range c.StringSlice("option") {
		key, value, err := node.ParseOption(o)
		if err != nil {
			return node.Config{}, err
		}
		options[key] = value
	}
	return node.Config{
		Root: c.String("host-root"), Programs: programs, Prefix: c.String("prefix"), State: c.String("state"),
		Handler: c.String("handler"), Options: options, Layout: c.String("layout"), ConfigFile: c.String("config"),
		Containerd: c.String("containerd"), Socket: c.String("socket"), Unit: c.String("unit"),
		RestartCommand: c.String("restart-command"),
	}, nil
}

func install(c *cli.Context) error {
	cfg, err := config(c)
	if err != nil {
		return err
	}
	r, err := node.Install(c.Context, cfg)
	if err != nil {
		return err
	}
	did := "was there already"
	if r.Changed {
		did = "installed"
		if !r.Restarted {
			did = "upgraded, without a restart of containerd"
		}
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: version %s by %s (%s)\n", did, r.Version, r.Path, r.Layout)
	return err
}

func verify(c *cli.Context) error {
	cfg, err := config(c)
	if err != nil {
		return err
	}
	r, err := node.Verify(c.Context, cfg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "well: version %s by %s (%s)\n", r.Version, r.Path, r.Layout)
	return err
}

func uninstall(c *cli.Context) error {
	cfg, err := config(c)
	if err != nil {
		return err
	}
	r, err := node.Uninstall(c.Context, cfg, c.Bool("force"))
	if err != nil {
		return err
	}
	did := "was not there"
	if r.Changed {
		did = "removed"
	}
	_, err = fmt.Fprintln(c.App.Writer, did)
	return err
}

func recoverNode(c *cli.Context) error {
	cfg, err := config(c)
	if err != nil {
		return err
	}
	return node.Recover(c.Context, cfg)
}

func agent(c *cli.Context) error {
	cfg, err := config(c)
	if err != nil {
		return err
	}
	cluster, err := node.InCluster()
	if err != nil {
		return err
	}
	return node.Agent(c.Context, cfg, cluster, c.String("node-name"), c.String("ready-file"))
}

func ready(c *cli.Context) error {
	_, err := os.Stat(c.String("ready-file"))
	return err
}

func uninstallAll(c *cli.Context) error {
	cluster, err := node.InCluster()
	if err != nil {
		return err
	}
	return node.UninstallAll(c.Context, cluster, c.Bool("force"), c.Duration("patience"))
}

// usageError reports a wrong flag in one line; the default prints the whole help
// around it.
func usageError(c *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w; see wasm-node-installer --help", err)
}

func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return errors.New("this command takes no arguments; flags of the node go before it; see wasm-node-installer --help")
	}
	return nil
}
