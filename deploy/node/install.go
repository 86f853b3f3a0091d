package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
)

// Result is what a run did.
type Result struct {
	// Changed says whether anything on the node did, and Restarted whether
	// containerd was.
	Changed, Restarted bool
	// Version is that of the programs, Layout the distribution's, and Path the file
	// of containerd's configuration that has the runtime.
	Version, Layout, Path string
}

// Install installs or upgrades the shim. When it returns an error, the node is as
// it was before, and the error says what to do.
func Install(ctx context.Context, c Config) (Result, error) {
	s, err := open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	return s.install(ctx)
}

func (s *session) install(ctx context.Context) (r Result, _ error) {
	p, err := readPrograms(s.Programs)
	if err != nil {
		return r, err
	}
	n, err := s.survey(ctx)
	if err != nil {
		return r, err
	}
	runtimes := runtimesOf(n.whole)
	want := runtimeTable(runtimes, s.shimPath(), s.Options)
	configured := len(n.ours) == 1 && says(lookup(runtimes, s.Handler), want)
	placed := s.currentDir() != "" && p.installed(s.host, s.currentDir())
	r = Result{Version: p.version(), Layout: s.layout.Name}
	if configured {
		r.Path = n.ours[0].path
	}
	if configured && placed {
		if err := s.await(ctx, s.serves(want)); err == nil {
			return r, nil
		}
		configured = false // the daemon has not read it: restart it
	}
	t, err := s.begin()
	if err != nil {
		return r, err
	}
	err = s.change(ctx, t, p, n, want, placed, configured, &r)
	if err == nil {
		err = t.commit()
	}
	if err != nil {
		// The undoing does not end with what was cancelled.
		if undoErr := s.undo(context.WithoutCancel(ctx), t); undoErr != nil {
			return r, fmt.Errorf("%w; and taking it back failed: %w", err, undoErr)
		}
		return r, fmt.Errorf("%w (the node is as it was)", err)
	}
	r.Changed = true
	if err := errors.Join(s.collect(), s.leaveNoState()); err != nil {
		log.G(ctx).WithError(err).Warn("old versions of the programs stay")
	}
	return r, nil
}

// change makes the node as it should be, in a transaction.
func (s *session) change(ctx context.Context, t *transaction, p programs, n *situation, want tree, placed, configured bool, r *Result) error {
	if !placed {
		old := s.currentDir()
		dir, err := s.place(t, p)
		if err != nil {
			return err
		}
		if err := s.try(ctx, dir, want); err != nil {
			return err
		}
		if old != "" {
			if err := s.retire(old); err != nil {
				return err
			}
		}
		if err := t.link(filepath.Join(s.Prefix, current), filepath.Join(versions, filepath.Base(dir))); err != nil {
			return err
		}
	} else if err := s.try(ctx, s.currentDir(), want); err != nil {
		return err
	}
	if configured {
		return s.await(ctx, s.serves(want))
	}
	restart, err := s.restarter(ctx)
	if err != nil {
		return err
	}
	e, err := s.choose(ctx, t, n, want)
	if err != nil {
		return err
	}
	for _, o := range n.ours { // of another kind, or at another place
		if o.path != e.path {
			if err := s.unedit(t, o); err != nil {
				return err
			}
		}
	}
	if e.backup != "" {
		if err := t.write(e.backup, e.old); err != nil {
			return err
		}
	}
	if err := t.write(e.path, e.new); err != nil {
		return fmt.Errorf("write %s: %w", e.path, err)
	}
	r.Path, r.Restarted = e.path, true
	log.G(ctx).Infof("added runtime %s by %s, %s; restarting containerd", s.Handler, e.kind, e.path)
	if err := t.note(change{Kind: changeRestart, Path: s.layout.Socket}); err != nil {
		return err
	}
	if err := restart(ctx); err != nil {
		return err
	}
	return s.await(ctx, s.serves(want))
}

// unedit takes an edit of a former run back. A file that would be empty goes: no
// run leaves one that was there before, but for a template that says no more than
// the built-in one.
func (s *session) unedit(t *transaction, e edit) error {
	if e.kind == dropIn || e.new == "" || e.new == baseTemplate {
		if err := t.remove(e.path); err != nil {
			return err
		}
	} else if err := t.write(e.path, e.new); err != nil {
		return err
	}
	switch {
	case e.kind == rewrite:
		return t.remove(backup(e.path))
	case strings.HasPrefix(e.old, dropInNote+dirNote):
		return t.rmdir(filepath.Dir(e.path))
	}
	return nil
}
