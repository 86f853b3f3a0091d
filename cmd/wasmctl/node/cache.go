package node

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

func cacheFlag() cli.Flag {
	return &cli.StringFlag{Name: "cache", Value: compile.CacheDir(), Usage: "`DIR`ectory of compiled code, as the runtime option CacheDir"}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "write JSON"} }

// CacheCommand looks after the node's cache of compiled code.
func CacheCommand() *cli.Command {
	return &cli.Command{
		Name:  "cache",
		Usage: "look at the node's cache of compiled code, check and clean it",
		Description: "All of it may be done while containers run and start: what is in use stays, and what was\n" +
			"removed is compiled again.",
		Subcommands: []*cli.Command{
			{
				Name: "ls", Usage: "list what is in it, the least recently used first", UsageText: "wasmctl cache ls [--json] [--cache DIR]",
				Flags: []cli.Flag{cacheFlag(), jsonFlag()}, Action: list,
			},
			{
				Name: "stat", Usage: "sum it up", UsageText: "wasmctl cache stat [--json] [--cache DIR]",
				Flags: []cli.Flag{cacheFlag(), jsonFlag()}, Action: stat,
			},
			{
				Name: "verify", Usage: "compare all of it with its checksums", UsageText: "wasmctl cache verify [--remove] [--json] [--cache DIR]",
				Description: "Exits with 1 when something is damaged. Containers never run what is damaged: it is\nremoved and compiled again when it is looked up.",
				Flags:       []cli.Flag{&cli.BoolFlag{Name: "remove", Usage: "remove what is damaged"}, cacheFlag(), jsonFlag()}, Action: verify,
			},
			pruneCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("there is no command %q; see wasmctl cache --help", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

// open opens the cache that the flags name, which has to be one.
func open(c *cli.Context) (*codecache.Cache, error) {
	if c.Args().Present() {
		return nil, fmt.Errorf("%s takes no operand %q; see wasmctl %[1]s --help", "cache "+c.Command.Name, c.Args().First())
	}
	return codecache.Open(c.String("cache"), codecache.Existing())
}

// entry is an entry of the cache as JSON has it.
type entry struct {
	Name string `json:"name"`
	// Kind is code, or module for a layer of an image.
	Kind    string     `json:"kind,omitempty"`
	Module  string     `json:"module,omitempty"`
	Engine  string     `json:"engine,omitempty"`
	Build   string     `json:"build,omitempty"`
	CPU     string     `json:"cpu,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	Used    time.Time  `json:"used"`
	Size    int64      `json:"size"`
	InUse   bool       `json:"inUse"`
	// Current: this machine's runner would use it.
	Current bool   `json:"current"`
	Damage  string `json:"damage,omitempty"`
}

func describe(i codecache.Info) (entry, error) {
	e := entry{Name: i.Name, Used: i.Used.UTC(), Size: i.Size, InUse: i.InUse, Damage: i.Damage}
	if i.Key == (codecache.Key{}) {
		return e, nil
	}
	e.Kind, e.Module, e.Created = "code", fmt.Sprintf("sha256:%x", i.Key.Module), &i.Created
	e.Engine, e.Build, e.CPU = i.Key.Engine, i.Key.Build, i.Key.CPU
	if i.Key == codecache.ModuleKey(i.Key.Module) {
		e.Kind, e.Engine, e.Current = "module", "", true
		return e, nil
	}
	var err error
	e.Current, err = compile.Current(i.Key)
	return e, err
}

func describeAll(infos []codecache.Info) ([]entry, error) {
	entries := []entry{}
	for _, i := range infos {
		e, err := describe(i)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// state is one word, or more for what is wrong.
func (e entry) state() string {
	switch {
	case e.Damage != "":
		return "damaged: " + visible(e.Damage)
	case e.InUse:
		return "in use"
	case !e.Current:
		return "of another build or CPU"
	}
	return "ready"
}

func list(c *cli.Context) error {
	cache, err := open(c)
	if err != nil {
		return err
	}
	defer cache.Close()
	infos, err := cache.List()
	if err != nil {
		return err
	}
	return show(c, infos)
}

// show writes entries.
func show(c *cli.Context, infos []codecache.Info) error {
	entries, err := describeAll(infos)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(c.App.Writer, entries)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ENTRY\tKIND\tMODULE\tSIZE\tUSED\tSTATE")
	for _, e := range entries {
		fmt.Fprintf(w, "%.12s\t%s\t%.19s\t%s\t%s\t%s\n", e.Name, e.Kind, e.Module, sizeText(e.Size), e.Used.Local().Format("2006-01-02 15:04"), e.state())
	}
	return w.Flush()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// sums is what stat says.
type sums struct {
	Directory string `json:"directory"`
	Entries   int    `json:"entries"`
	Size      int64  `json:"size"`
	Modules   int    `json:"modules"`
	InUse     int    `json:"inUse"`
	// OtherBuilds are those that this machine's runner would not use.
	OtherBuilds     int        `json:"otherBuilds"`
	OtherBuildsSize int64      `json:"otherBuildsSize"`
	Damaged         int        `json:"damaged"`
	OldestUse       *time.Time `json:"oldestUse,omitempty"`
	// Strays have no business in the directory.
	Strays []string `json:"strays"`
}

func stat(c *cli.Context) error {
	cache, err := open(c)
	if err != nil {
		return err
	}
	defer cache.Close()
	infos, err := cache.List()
	if err != nil {
		return err
	}
	entries, err := describeAll(infos)
	if err != nil {
		return err
	}
	s := sums{Directory: c.String("cache"), Entries: len(entries), Strays: []string{}}
	for _, e := range entries {
		s.Size += e.Size
		switch {
		case e.Damage != "":
			s.Damaged++
		case !e.Current:
			s.OtherBuilds++
			s.OtherBuildsSize += e.Size
		}
		if e.InUse {
			s.InUse++
		}
		if e.Kind == "module" {
			s.Modules++
		}
	}
	if len(entries) > 0 {
		s.OldestUse = &entries[0].Used
	}
	strays, err := cache.Strays()
	if err != nil {
		return err
	}
	s.Strays = append(s.Strays, strays...)
	if c.Bool("json") {
		return writeJSON(c.App.Writer, s)
	}
	w := c.App.Writer
	fmt.Fprintf(w, "directory     %s\nentries       %d, %s; %d of them modules that were layers\nin use        %d\nother builds  %d, %s\ndamaged       %d\n",
		s.Directory, s.Entries, sizeText(s.Size), s.Modules, s.InUse, s.OtherBuilds, sizeText(s.OtherBuildsSize), s.Damaged)
	if s.OldestUse != nil {
		fmt.Fprintf(w, "oldest use    %s\n", s.OldestUse.Local().Format("2006-01-02 15:04"))
	}
	for _, name := range s.Strays {
		fmt.Fprintf(w, "stray         %s, which nothing of the cache's has made and nothing removes\n", visible(name))
	}
	return nil
}

func verify(c *cli.Context) error {
	cache, err := open(c)
	if err != nil {
		return err
	}
	defer cache.Close()
	infos, err := cache.Verify()
	if err != nil {
		return err
	}
	var damaged []codecache.Info
	for _, i := range infos {
		if i.Damage == "" {
			continue
		}
		damaged = append(damaged, i)
		if c.Bool("remove") {
			if _, err := cache.Remove(i); err != nil {
				return err
			}
		}
	}
	if c.Bool("json") {
		entries, err := describeAll(damaged)
		if err != nil {
			return err
		}
		if err := writeJSON(c.App.Writer, map[string]any{"verified": len(infos), "damaged": entries}); err != nil {
			return err
		}
	} else {
		for _, i := range damaged {
			fmt.Fprintf(c.App.Writer, "%s: %s\n", i.Name, visible(i.Damage))
		}
		fmt.Fprintf(c.App.Writer, "%d entries, %d damaged\n", len(infos), len(damaged))
	}
	if len(damaged) > 0 {
		return cli.Exit("", 1)
	}
	return nil
}
