package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name:      "prune",
		Usage:     "remove entries",
		UsageText: "wasmctl cache prune [--unused-images] [--older-than TIME] [--other-builds] [--size SIZE] [--all] [--dry-run] [--json] [--cache DIR]",
		Description: `Removes the entries for which everything asked for holds, but for those in use.

--unused-images asks containerd, in all its namespaces, and removes what is of no module of
any image. A module that lies in a volume or in a container only is compiled again when it is
used: add --older-than to spare those in use. Nothing is removed when an image cannot be read.

  wasmctl cache prune --unused-images --older-than 168h
  wasmctl cache prune --other-builds          # after an upgrade`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "unused-images", Usage: "entries of modules that are in no image of containerd"},
			&cli.DurationFlag{Name: "older-than", Usage: "entries that were not used for `TIME`, such as 168h"},
			&cli.BoolFlag{Name: "other-builds", Usage: "entries of another build, engine or CPU than this machine's runner has"},
			&cli.StringFlag{Name: "size", Usage: "of those, the least recently used until the cache has `SIZE`, such as 5Gi"},
			&cli.BoolFlag{Name: "all", Usage: "all entries"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
			cacheFlag(), jsonFlag(),
		}, daemonFlags()...),
		Action: func(c *cli.Context) error {
			if c.Bool("all") == (c.Bool("unused-images") || c.IsSet("older-than") || c.Bool("other-builds") || c.IsSet("size")) {
				return errors.New("say which entries to remove, or all of them with --all; see wasmctl cache prune --help")
			}
			return withSignals(c.Context, func(ctx context.Context) error { return prune(ctx, c) })
		},
	}
}

// condition tells whether an entry may go.
type condition func(codecache.Info) (bool, error)

func prune(ctx context.Context, c *cli.Context) error {
	most := int64(-1)
	if c.IsSet("size") {
		size, err := oci.ParseSize(c.String("size"))
		if err != nil {
			return fmt.Errorf("--size: %w", err)
		}
		most = int64(size)
	}
	if c.Bool("unused-images") {
		if err := makeMountsPrivate(); err != nil {
			return err
		}
	}
	cache, err := open(c)
	if e, ok := errors.AsType[*control.Error](err); ok && e.Class == control.NotFound && !c.IsSet("cache") {
		return tellPruned(c, nil) // a node on which nothing ran yet
	}
	if err != nil {
		return err
	}
	defer cache.Close()
	conditions, err := conditionsOf(ctx, c)
	if err != nil {
		return err
	}
	// Listed after containerd was asked: an entry that comes meanwhile counts as
	// just used, and one of an image that does would be compiled again.
	infos, err := cache.List()
	if err != nil {
		return err
	}
	chosen, err := choose(infos, conditions, most)
	if err != nil {
		return err
	}
	removed, err := remove(cache, chosen, c.Bool("dry-run"))
	return errors.Join(err, tellPruned(c, removed))
}

func conditionsOf(ctx context.Context, c *cli.Context) (all []condition, _ error) {
	if c.IsSet("older-than") {
		before := time.Now().Add(-c.Duration("older-than"))
		all = append(all, func(i codecache.Info) (bool, error) { return i.Used.Before(before), nil })
	}
	if c.Bool("other-builds") {
		all = append(all, func(i codecache.Info) (bool, error) {
			if i.Key == codecache.ModuleKey(i.Key.Module) {
				return false, nil
			}
			current, err := compile.Current(i.Key)
			return !current, err
		})
	}
	if c.Bool("unused-images") {
		d, err := dial(ctx, c)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		known, err := d.knownModules(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, func(i codecache.Info) (bool, error) { return !known[i.Key.Module], nil })
	}
	return all, nil
}

// choose returns the entries that fulfil all conditions, the least recently used
// first, and with a size of at least 0 only as many as leave that.
func choose(infos []codecache.Info, conditions []condition, size int64) (chosen []codecache.Info, _ error) {
	var total int64
	for _, i := range infos {
		total += i.Size
	}
	for _, i := range infos {
		if size >= 0 && total <= size {
			break
		}
		fits := true
		for _, holds := range conditions {
			ok, err := holds(i)
			if err != nil {
				return nil, err
			}
			fits = fits && ok
		}
		if fits {
			chosen = append(chosen, i)
			total -= i.Size
		}
	}
	return chosen, nil
}

// remove removes the entries that nobody uses.
func remove(cache *codecache.Cache, chosen []codecache.Info, dry bool) (removed []codecache.Info, _ error) {
	for _, i := range chosen {
		if i.InUse {
			continue
		}
		gone := dry
		if !dry {
			var err error
			if gone, err = cache.Remove(i); err != nil {
				return removed, err
			}
		}
		if gone {
			removed = append(removed, i)
		}
	}
	return removed, nil
}

func tellPruned(c *cli.Context, removed []codecache.Info) error {
	if c.Bool("json") {
		entries, err := describeAll(removed)
		if err != nil {
			return err
		}
		return writeJSON(c.App.Writer, entries)
	}
	var size int64
	verb := "removed"
	if c.Bool("dry-run") {
		verb = "would remove"
	}
	for _, i := range removed {
		size += i.Size
		fmt.Fprintf(c.App.Writer, "%s  %.12s  %s  %s\n", verb, i.Name, sizeText(i.Size), i.Used.Local().Format("2006-01-02 15:04"))
	}
	fmt.Fprintf(c.App.Writer, "%s %d entries, %s\n", verb, len(removed), sizeText(size))
	return nil
}
