package node

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// staged is the prefix of files that containerd judges before they are live. They
// lie beside the live one, because imports are relative to it, and end in what no
// pattern of imports matches.
const staged = ".staged-" + marker

// dump returns the whole configuration that containerd makes of a file, or of none.
func (s *session) dump(ctx context.Context, containerd, config string) (tree, error) {
	argv := []string{containerd, "--config", config, "config", "dump"}
	if !s.host.exists(config) {
		argv = []string{containerd, "config", "default"}
	}
	out, err := s.host.run(ctx, nil, argv...)
	if err != nil {
		return nil, fmt.Errorf("containerd does not accept its configuration: %w", err)
	}
	return parseTOML("what containerd makes of "+config, out)
}

// dumpText is dump of a text that is not live.
func (s *session) dumpText(ctx context.Context, t *transaction, containerd, text string) (tree, error) {
	file := s.layout.Config + staged
	remove, err := t.temporary(file, text)
	if err != nil {
		return nil, err
	}
	whole, err := s.dump(ctx, containerd, file)
	if rmErr := remove(); err == nil {
		err = rmErr
	}
	return whole, err
}

// judge has containerd read what the edit would make and compares that with what it
// reads now: only the handler may have come.
func (s *session) judge(ctx context.Context, t *transaction, containerd string, before tree, e edit, want tree) (after tree, _ error) {
	text := e.effect
	if e.imported != "" {
		file := filepath.Join(filepath.Dir(s.layout.Config), dropInName+staged)
		remove, err := t.temporary(file, e.imported)
		if err != nil {
			return nil, err
		}
		defer remove()
		config, err := parseTOML(s.layout.Config, text)
		if err != nil {
			return nil, err
		}
		imports, _ := config["imports"].([]any)
		config["imports"] = append(imports[:len(imports):len(imports)], file)
		if text, err = marshalTOML(config); err != nil {
			return nil, err
		}
	}
	after, err := s.dumpText(ctx, t, containerd, text)
	if err != nil {
		return nil, err
	}
	if got := lookup(runtimesOf(after), s.Handler); got == nil || !says(got, want) {
		return after, fmt.Errorf("%s in %s does not give containerd the handler %q", e.kind, e.path, s.Handler)
	}
	if changed := foreignChange(before, after, s.Handler); changed != "" {
		return after, fmt.Errorf("%s in %s would change %s as well", e.kind, e.path, strings.TrimSpace(changed))
	}
	return after, nil
}

// temporary writes a file that the caller, or undo, removes.
func (t *transaction) temporary(path, text string) (remove func() error, _ error) {
	err := t.mkdir(filepath.Dir(path))
	if err == nil {
		err = t.note(change{Kind: changeTree, Path: path})
	}
	if err == nil {
		err = t.host.replace(path, &content{Text: []byte(text), Mode: 0o600})
	}
	if err != nil {
		return nil, notJudged{err}
	}
	return func() error { return t.host.removeTree(path) }, nil
}

// notJudged is an error that says nothing about the edit.
type notJudged struct{ error }

func (e notJudged) Unwrap() error { return e.error }
