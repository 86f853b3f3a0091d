package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Store is the cache and the checkout whose sources fill it.
type Store struct {
	// Dir is the cache's directory, absolute.
	Dir string
	// Checkout is the directory of the project's go.mod, absolute.
	Checkout string
	// shipped is the directory of what was made elsewhere; empty where it is
	// made. See Ship.
	shipped string

	logMu sync.Mutex
	log   io.Writer
}

// Open returns the cache of the checkout that holds the current directory. What
// is being made is told to log, one line each.
//
// The cache lies in $XDG_CACHE_HOME, or in ~/.cache, under the project's name.
// With E2E_SHIPPED in the environment nothing is made, see Ship.
func Open(log io.Writer) (*Store, error) {
	checkout, err := findCheckout()
	if err != nil {
		return nil, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache's directory: %w", err)
	}
	return &Store{Dir: filepath.Join(base, "containerd-shim-wasm"), Checkout: checkout, shipped: os.Getenv("E2E_SHIPPED"), log: log}, nil
}

// findCheckout walks up from the current directory to the project's go.mod,
// passing those of the modules inside it.
func findCheckout() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module github.com/wasmshim/containerd-shim-wasm\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of containerd-shim-wasm", wd)
		}
	}
}

// entry returns the directory called name in the cache. When there is none,
// fill makes it: it gets an empty directory on the same file system, which gets
// the name only when fill returns nil. Processes that want the same entry wait
// for the one that makes it.
func (s *Store) entry(ctx context.Context, name string, fill func(ctx context.Context, dir string) error) (string, error) {
	final := filepath.Join(s.Dir, name)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	unlock, err := s.lock(name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil // made by another while this process waited
	}
	tmp, err := os.MkdirTemp(s.Dir, ".new-"+name+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	began := time.Now()
	s.logf("make %s", name)
	if err := fill(ctx, tmp); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	if err := os.Rename(tmp, final); err != nil {
		return "", err
	}
	s.logf("made %s in %.1f s", name, time.Since(began).Seconds())
	return final, nil
}

// lock takes the lock of that name in the cache, which ends with the process.
// Its file stays: removing it would let two processes hold locks on two files
// of one name.
func (s *Store) lock(name string) (unlock func(), _ error) {
	dir := filepath.Join(s.Dir, ".locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

func (s *Store) logf(format string, args ...any) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	fmt.Fprintf(s.log, "provision: "+format+"\n", args...)
}

// digest names a set of inputs: the first 12 hexadecimal digits of their hash.
// Files and whole directories count by their paths in the checkout and their
// contents, texts as they are.
func (s *Store) digest(texts []string, paths ...string) (string, error) {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "text %d %s\n", len(t), t)
	}
	for _, p := range paths {
		err := filepath.WalkDir(filepath.Join(s.Checkout, p), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(s.Checkout, path)
			fmt.Fprintf(h, "file %s %d ", rel, len(b))
			h.Write(b)
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}
