package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner"
)

// runFailure is the exit code of "wasmctl run" when the guest did not run, as
// it is docker's: codes from 0 to 124 are the guest's own by custom.
const runFailure = 125

// runCommand runs a module as the shim would, in this process and without a
// sandbox.
func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a module on this machine, without containerd or a sandbox",
		ArgsUsage: "app.wasm[#export] [arguments of the guest…]",
		Description: "The guest sees nothing of this machine but standard input and output and what --dir gives it,\n" +
			"and no environment but what --env gives it. It exits with the guest's exit code: 134 for a\n" +
			"trap, 125 when the module could not be run. Flags after the module are the guest's.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "env", Usage: "environment `KEY=VALUE` of the guest; KEY alone copies it from here"},
			&cli.StringSliceFlag{Name: "dir", Usage: "directory `HOST::GUEST[::ro]` that the guest may use; HOST alone has the same path in the guest"},
			&cli.StringFlag{Name: "cache", Usage: "`DIR`ectory for compiled code, which must be private to you; empty for none (default: one in your cache directory)"},
		},
		Action: func(c *cli.Context) error {
			code, err := run(c)
			if err != nil {
				return cli.Exit(err.Error(), runFailure)
			}
			return cli.Exit("", code)
		},
	}
}

func run(c *cli.Context) (exitCode int, err error) {
	if c.NArg() == 0 {
		return 0, errors.New("run: no module given; usage: wasmctl run app.wasm [arguments…]")
	}
	path, export, err := splitExport(c.Args().First())
	if err != nil {
		return 0, err
	}
	module, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	w := &oci.Workload{
		Module: path,
		Export: export,
		Args:   append([]string{filepath.Base(path)}, c.Args().Tail()...),
		Cwd:    "/",
	}
	for _, e := range c.StringSlice("env") {
		if !strings.Contains(e, "=") {
			value, ok := os.LookupEnv(e)
			if !ok {
				continue
			}
			e += "=" + value
		}
		w.Env = append(w.Env, e)
	}
	for _, d := range c.StringSlice("dir") {
		p, err := parsePreopen(d)
		if err != nil {
			return 0, err
		}
		w.Preopens = append(w.Preopens, p)
	}
	cache := c.String("cache")
	if cache != "" || !c.IsSet("cache") {
		if cache, err = privateCache(cache); err != nil {
			return 0, err
		}
	}
	code, err := runner.Run(context.Background(), module, w, runner.Options{
		CacheDir: cache,
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
	})
	return int(code & 0xff), err
}

// splitExport separates app.wasm#export, where both parts may be a file's name:
// the file that exists decides, and if both do, nobody can know.
func splitExport(arg string) (path, export string, err error) {
	i := strings.LastIndexByte(arg, '#')
	if i < 0 {
		return arg, "", nil
	}
	whole, part := isFile(arg), isFile(arg[:i])
	switch {
	case whole && part:
		return "", "", fmt.Errorf("%s may mean that file or function %s of %s, and both files exist; rename one", arg, arg[i+1:], arg[:i])
	case whole:
		return arg, "", nil
	case arg[i+1:] == "":
		return "", "", fmt.Errorf("%s names no function after #; write %s to run its _start", arg, arg[:i])
	}
	return arg[:i], arg[i+1:], nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir()
}

// parsePreopen reads HOST, HOST::GUEST or HOST::GUEST::ro.
func parsePreopen(s string) (oci.Preopen, error) {
	parts := strings.Split(s, "::")
	p := oci.Preopen{Host: parts[0], Guest: parts[0]}
	switch {
	case len(parts) == 3 && parts[2] == "ro":
		p.ReadOnly = true
		fallthrough
	case len(parts) == 2:
		p.Guest = parts[1]
	case len(parts) != 1:
		return p, fmt.Errorf("--dir %s is not of the form HOST::GUEST or HOST::GUEST::ro", s)
	}
	if p.Host == "" || p.Guest == "" {
		return p, fmt.Errorf("--dir %s names no directory; write HOST::GUEST", s)
	}
	return p, nil
}

// privateCache returns the directory for compiled code, which is native code
// that will be run as whoever loads it. A directory that the user names must
// be private to the user; when the default one is not, there is none.
func privateCache(dir string) (string, error) {
	if dir != "" {
		if err := makePrivate(dir); err != nil {
			return "", fmt.Errorf("--cache %s: %w", dir, err)
		}
		return dir, nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", nil
	}
	dir = filepath.Join(base, "containerd-shim-wasm", "compiled")
	if makePrivate(dir) != nil {
		return "", nil
	}
	return dir, nil
}

// makePrivate creates a directory that only its owner can enter, and refuses
// one that somebody else owns or can write.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.IsDir():
		return errors.New("not a directory")
	case !ok || int(sys.Uid) != os.Geteuid():
		return errors.New("it belongs to another user; name one of your own")
	case st.Mode().Perm()&0o022 != 0:
		return errors.New("others can write to it; chmod it to 0700")
	}
	return nil
}
