package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
)

// Uninstall removes what Install has put on the node, with the cache of compiled
// code. It refuses while Pods of the handler run, unless forced. When it returns an
// error, the node is as it was before.
func Uninstall(ctx context.Context, c Config, force bool) (Result, error) {
	s, err := open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	return s.uninstall(ctx, force)
}

func (s *session) uninstall(ctx context.Context, force bool) (r Result, _ error) {
	r.Layout = s.layout.Name
	live, _, err := s.host.readFile(s.layout.Config)
	if err != nil {
		return r, err
	}
	config, err := parseTOML(s.layout.Config, live)
	if err != nil {
		return r, err
	}
	ours, err := s.findOurs(config)
	if err != nil {
		return r, err
	}
	if !force {
		if err := s.refuseWhileUsed(ctx, ours); err != nil {
			return r, err
		}
	}
	if len(ours) > 0 {
		t, err := s.begin()
		if err != nil {
			return r, err
		}
		if err = s.takeBack(ctx, t, ours); err == nil {
			err = t.commit()
		}
		if err != nil {
			if undoErr := s.undo(context.WithoutCancel(ctx), t); undoErr != nil {
				return r, fmt.Errorf("%w; and taking it back failed: %w", err, undoErr)
			}
			return r, fmt.Errorf("%w (the node is as it was)", err)
		}
		r.Path, r.Changed, r.Restarted = ours[0].path, true, true
	}
	// Nothing names these any more: removing them needs no undo, only to be done
	// again by the next run if this one is killed.
	for _, path := range []string{
		filepath.Join(s.Prefix, current), filepath.Join(s.Prefix, versions), filepath.Join(s.State, "cache"),
	} {
		if p, err := s.host.entry(path); err != nil || !present(p) {
			continue
		}
		s.Step("remove " + path)
		if err := s.host.removeTree(path); err != nil {
			return r, fmt.Errorf("remove %s: %w", path, err)
		}
		r.Changed = true
	}
	if err := s.host.removeEmpty(s.Prefix); err != nil {
		return r, err
	}
	return r, s.leaveNoState()
}

func (s *session) takeBack(ctx context.Context, t *transaction, ours []edit) error {
	restart, err := s.restarter(ctx)
	if err != nil {
		return err
	}
	for _, e := range ours {
		if err := s.unedit(t, e); err != nil {
			return fmt.Errorf("remove the runtime from %s: %w", e.path, err)
		}
	}
	log.G(ctx).Infof("removed runtime %s; restarting containerd", s.Handler)
	if err := t.note(change{Kind: changeRestart, Path: s.layout.Socket}); err != nil {
		return err
	}
	if err := restart(ctx); err != nil {
		return err
	}
	return s.await(ctx, func(state runtimeState) error {
		if _, there := state.Runtimes[s.Handler]; there {
			return fmt.Errorf("containerd still has the handler %q; remove it from the configuration by hand", s.Handler)
		}
		return nil
	})
}

// refuseWhileUsed fails when Pods run, or when containerd cannot say.
func (s *session) refuseWhileUsed(ctx context.Context, ours []edit) error {
	if len(ours) == 0 {
		return nil
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return fmt.Errorf("%w; with --force the shim is removed whatever runs", err)
	}
	if len(pods) > 0 {
		const most = 5
		list := strings.Join(pods[:min(len(pods), most)], ", ")
		if len(pods) > most {
			list += fmt.Sprintf(" and %d more", len(pods)-most)
		}
		return fmt.Errorf("handler %q runs Pods on this node: %s; drain the node or delete them first, or use --force", s.Handler, list)
	}
	return nil
}

func present(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
