package provision

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestEntryIsMadeOnce(t *testing.T) {
	var made atomic.Int32
	fill := func(_ context.Context, dir string) error {
		made.Add(1)
		return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s := &Store{Dir: dir, log: io.Discard} // as another process would
			path, err := s.entry(t.Context(), "thing-1", fill)
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(path, "file")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("made %d times", n)
	}
}

func TestFailedEntryLeavesNothing(t *testing.T) {
	s := &Store{Dir: t.TempDir(), log: io.Discard}
	broken := errors.New("broken")
	_, err := s.entry(t.Context(), "thing-1", func(_ context.Context, dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".locks" {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestDigestChangesWithEachInput(t *testing.T) {
	s := &Store{Checkout: t.TempDir()}
	write := func(content string) {
		if err := os.WriteFile(filepath.Join(s.Checkout, "source"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, content := range []string{"a", "b"} {
		write(content)
		for _, texts := range [][]string{nil, {"-O1"}, {"-O", "1"}} {
			d, err := s.digest(texts, "source")
			if err != nil {
				t.Fatal(err)
			}
			if seen[d] {
				t.Errorf("%q, %q: a digest that other inputs had", content, texts)
			}
			seen[d] = true
		}
	}
}
