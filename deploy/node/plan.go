package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// situation is what the configuration of the node is before a run.
type situation struct {
	containerd string // the program's path on the host
	// live is the text of the layout's Config, and config that text parsed.
	live   string
	config tree
	// whole is what containerd makes of it.
	whole tree
	// ours are the edits that a former run has made: undone, each file gets new.
	ours []edit
}

// survey reads the node's configuration; it changes nothing.
func (s *session) survey(ctx context.Context) (*situation, error) {
	var n situation
	var err error
	if n.containerd, err = s.host.findContainerd(s.layout); err != nil {
		return nil, err
	}
	if n.live, _, err = s.host.readFile(s.layout.Config); err != nil {
		return nil, err
	}
	if n.config, err = parseTOML(s.layout.Config, n.live); err != nil {
		return nil, err
	}
	if n.whole, err = s.dump(ctx, n.containerd, s.layout.Config); err != nil {
		return nil, err
	}
	if err := s.refuseOld(ctx, n.containerd); err != nil {
		return nil, err
	}
	if criDisabled(n.whole) {
		return nil, fmt.Errorf("%s turns off containerd's service for kubelet; remove \"cri\" from its disabled_plugins and restart containerd", s.layout.Config)
	}
	n.ours, err = s.findOurs(n.config)
	return &n, err
}

// oldContainerd is what `containerd --version` says of those whose service for
// kubelet reads runtime_path and goes by the runtime's name all the same.
var oldContainerd = regexp.MustCompile(`^\S+ \S+ v?(1\.[0-6]\.\S+|0\.\S+)`)

// refuseOld keeps the node from a handler by which no Pod would ever run.
func (s *session) refuseOld(ctx context.Context, containerd string) error {
	out, err := s.host.run(ctx, nil, containerd, "--version")
	if err != nil {
		return err
	}
	if m := oldContainerd.FindStringSubmatch(out); m != nil {
		return fmt.Errorf("%s is containerd %s, which finds runtimes of Pods in its PATH alone; upgrade it to 1.7 or newer, or install the programs by hand into a directory of its PATH", containerd, m[1])
	}
	return nil
}

// dropInPlaces are the files of our own that may be there.
func (s *session) dropInPlaces(config tree) (places []string) {
	for _, dir := range []string{s.layout.DropIns, dropInDir(s.layout.Config, config)} {
		if dir != "" {
			places = append(places, filepath.Join(dir, dropInName))
		}
	}
	return places
}

// findOurs returns the edits that would undo those of a former run.
func (s *session) findOurs(config tree) (ours []edit, _ error) {
	for _, path := range s.dropInPlaces(config) {
		text, ok, err := s.host.readFile(path)
		if err != nil {
			return nil, err
		}
		if ok && !strings.HasPrefix(text, dropInNote) {
			return nil, fmt.Errorf("%s is not the installer's; rename it, because that is the name of the file to write", path)
		}
		if ok {
			ours = append(ours, edit{kind: dropIn, path: path, old: text})
		}
	}
	files := s.layout.Templates
	if len(files) == 0 {
		files = []string{s.layout.Config}
	}
	for _, path := range files {
		text, ok, err := s.host.readFile(path)
		if err != nil {
			return nil, err
		}
		rest, found, err := withoutBlock(path, text)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok:
		case found:
			ours = append(ours, edit{kind: block, path: path, old: text, new: rest})
		case strings.HasPrefix(text, rewriteNote):
			if rest, err = s.unrewritten(path, text); err != nil {
				return nil, err
			}
			ours = append(ours, edit{kind: rewrite, path: path, old: text, new: rest})
		}
	}
	return ours, nil
}

// backup is the file that keeps the old text of a path.
func backup(path string) string { return path + backupEnd }

// unrewritten is the text before a rewrite: the backup if nothing else has changed
// since, or else the present text without the runtime.
func (s *session) unrewritten(path, text string) (string, error) {
	old, ok, err := s.host.readFile(backup(path))
	if err != nil {
		return "", err
	}
	without, err := rewritten(path, text, s.Handler, nil, "")
	if err != nil {
		return "", err
	}
	if ok {
		was, err := rewritten(path, old, s.Handler, nil, "")
		if err == nil && was == without {
			return old, nil
		}
	}
	return without, nil
}

// candidates returns the ways to add the runtime, the gentlest first. live is the
// text of Config without what a former run has added.
func (s *session) candidates(n *situation, live string, want, restated tree) (edits []edit, _ error) {
	version, err := s.version(n)
	if err != nil {
		return nil, err
	}
	tables := ""
	for _, name := range sortedKeys(restated) {
		text, err := writeRuntime(version, name, restated[name].(tree))
		if err != nil {
			return nil, err
		}
		tables += text
	}
	own, err := writeRuntime(version, s.Handler, want)
	if err != nil {
		return nil, err
	}
	tables += own
	key := fmt.Sprintf("%s%d\n", versionKey, version)
	file := key + "\n" + tables

	if s.managedDropIns(live) {
		merged, ok, err := s.host.readFile(s.layout.Merged)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%s is not there; start %s once, so that it writes it", s.layout.Merged, s.layout.Name)
		}
		effect, err := rewritten(s.layout.Merged, merged, s.Handler, want, "")
		if err != nil {
			return nil, err
		}
		e := s.dropInEdit(s.layout.DropIns, file)
		e.effect, e.imported = withoutImport(live, s.layout.Merged), effect
		return []edit{e}, nil
	}
	config, err := parseTOML(s.layout.Config, live)
	if err != nil {
		return nil, err
	}
	// A daemon without a file imports nothing, whatever its defaults say.
	if dir := dropInDir(s.layout.Config, config); dir != "" {
		e := s.dropInEdit(dir, file)
		e.effect, e.imported = live, file
		edits = append(edits, e)
	}
	if len(s.layout.Templates) > 0 {
		e, err := s.templateEdit(version, live, tables)
		return append(edits, e), err
	}
	if live == "" {
		tables = key + tables
	}
	edited := withBlock(live, tables)
	edits = append(edits, edit{kind: block, path: s.layout.Config, old: live, new: edited, effect: edited})
	if live == "" {
		return edits, nil
	}
	note := rewriteNote + filepath.Base(backup(s.layout.Config)) + ".\n"
	if edited, err = rewritten(s.layout.Config, live, s.Handler, want, note); err != nil {
		return nil, err
	}
	return append(edits, edit{kind: rewrite, path: s.layout.Config, old: live, new: edited, effect: edited, backup: backup(s.layout.Config)}), nil
}

// dropInEdit is a file of our own in a directory that may have to be made.
func (s *session) dropInEdit(dir, text string) edit {
	e := edit{kind: dropIn, path: filepath.Join(dir, dropInName), new: dropInNote}
	old, _, _ := s.host.readFile(e.path)
	if strings.HasPrefix(old, dropInNote+dirNote) || !s.host.exists(dir) {
		e.new += dirNote
	}
	e.new += text
	return e
}

// templateEdit adds the block to the template that the distribution uses, or makes
// the one that says no more than the built-in one.
func (s *session) templateEdit(version int64, live, tables string) (edit, error) {
	e := edit{kind: block, effect: withBlock(live, tables)}
	for _, path := range s.layout.Templates {
		text, ok, err := s.host.readFile(path)
		if err != nil {
			return e, err
		}
		if ok {
			if text, _, err = withoutBlock(path, text); err != nil {
				return e, err
			}
			e.path, e.old, e.new = path, text, withBlock(text, tables)
			return e, nil
		}
	}
	if len(s.layout.Templates) < 2 {
		return e, fmt.Errorf("%s is not there, of which %s makes %s; start %[2]s once", s.layout.Templates[0], s.layout.Name, s.layout.Config)
	}
	e.path = s.layout.Templates[0]
	if version < 3 {
		e.path = s.layout.Templates[1]
	}
	e.new = withBlock(baseTemplate, tables)
	return e, nil
}

// managedDropIns says whether the distribution merges a directory of drop-ins: k0s
// does unless somebody has taken its configuration over.
func (s *session) managedDropIns(live string) bool {
	return s.layout.DropIns != "" && (live == "" || strings.HasPrefix(live, "# k0s_managed=true\n"))
}

// withoutImport is a configuration that does not import the file. Text that cannot
// be parsed is left for containerd to complain about.
func withoutImport(text, path string) string {
	t, err := parseTOML("", text)
	if err != nil {
		return text
	}
	imports, _ := t["imports"].([]any)
	var kept []any
	for _, v := range imports {
		if v != path {
			kept = append(kept, v)
		}
	}
	t["imports"] = kept
	out, err := marshalTOML(t)
	if err != nil {
		return text
	}
	return out
}

// version is that of Config, or the newest one that the daemon and this installer
// both know where there is none.
func (s *session) version(n *situation) (int64, error) {
	if strings.TrimSpace(n.live) != "" {
		return schema(s.layout.Config, n.config)
	}
	v, err := schema("containerd's default configuration", n.whole)
	return min(v, 3), err
}

// choose returns the first edit that containerd judges well.
func (s *session) choose(ctx context.Context, t *transaction, n *situation, want tree) (edit, error) {
	live, before := n.live, n.whole
	for _, e := range n.ours {
		if e.kind == dropIn {
			continue // says nothing of others
		}
		rest, _, err := withoutBlock(s.layout.Config, live)
		if err != nil {
			return edit{}, err
		}
		if live = rest; e.kind == rewrite {
			live = e.new
		}
		if before, err = s.dumpText(ctx, t, n.containerd, live); err != nil {
			return edit{}, err
		}
	}
	if len(n.ours) == 0 {
		if r, taken := runtimesOf(before)[s.Handler]; taken {
			return edit{}, fmt.Errorf("containerd's configuration already has a runtime %q, of type %v, which is not the installer's; remove it, or choose another name with --handler",
				s.Handler, r.(tree)["runtime_type"])
		}
	}
	var refusals []error
	var restated tree
	for round := 0; round < 2; round++ {
		edits, err := s.candidates(n, live, want, restated)
		if err != nil {
			return edit{}, err
		}
		var missing tree
		for _, e := range edits {
			after, err := s.judge(ctx, t, n.containerd, before, e, want)
			if err == nil {
				return e, nil
			}
			if _, ok := errors.AsType[notJudged](err); ok {
				return edit{}, err
			}
			refusals = append(refusals, err)
			if after != nil && e.kind == block {
				missing = lost(before, after)
			}
		}
		if len(missing) == 0 {
			break
		}
		restated = missing
	}
	return edit{}, fmt.Errorf("no way to add the runtime keeps the rest of containerd's configuration: %w; add it by hand as docs/install.md shows", errors.Join(refusals...))
}
