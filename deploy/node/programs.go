package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
)

// The programs of each version are in a directory of their own below the prefix,
// and the link "current" names the one that new Pods get: moving it is the upgrade.
// A shim finds the others beside itself, by its real path, so that the Pods of an
// old version keep them until they end.
const (
	shimName   = "containerd-shim-wasm-v1"
	runnerName = "wasm-runner"
	fetchName  = "wasm-fetch"
	versions   = "versions"
	current    = "current"
)

var programNames = []string{shimName, runnerName, fetchName}

// programs are the files to install, by name.
type programs map[string][]byte

func readPrograms(dir string) (programs, error) {
	p := programs{}
	for _, name := range programNames {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read the program to install: %w; name its directory with --programs", err)
		}
		p[name] = b
	}
	return p, nil
}

// version names the set of programs by their contents.
func (p programs) version() string {
	h := sha256.New()
	for _, name := range programNames {
		sum := sha256.Sum256(p[name])
		fmt.Fprintf(h, "%s %x\n", name, sum)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// installed says whether a directory of the host holds exactly these programs.
func (p programs) installed(h host, dir string) bool {
	for name, want := range p {
		c, err := h.content(filepath.Join(dir, name))
		if err != nil || c == nil || string(c.Text) != string(want) || c.Mode != 0o755 || c.UID != 0 {
			return false
		}
	}
	return true
}

// currentDir returns the directory of the version that new Pods get, or "".
func (s *session) currentDir() string {
	c, err := s.host.content(filepath.Join(s.Prefix, current))
	if err != nil || c == nil || filepath.Dir(c.Link) != versions {
		return ""
	}
	return filepath.Join(s.Prefix, c.Link)
}

// shimPath is the shim's path for containerd, the same for all versions.
func (s *session) shimPath() string { return filepath.Join(s.Prefix, current, shimName) }

// place writes the programs where they lack. A directory that has their name but
// something else in it is left alone: a Pod may run from it.
func (s *session) place(t *transaction, p programs) (dir string, _ error) {
	for n := 1; ; n++ {
		name := p.version()
		if n > 1 {
			name = fmt.Sprintf("%s-%d", name, n)
		}
		dir = filepath.Join(s.Prefix, versions, name)
		if p.installed(s.host, dir) {
			return dir, nil
		}
		if !s.host.exists(dir) {
			break
		}
	}
	if err := t.mkdir(filepath.Dir(dir)); err != nil {
		return "", err
	}
	if err := t.note(change{Kind: changeTree, Path: dir}); err != nil {
		return "", err
	}
	to, err := s.host.resolve(dir)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return "", cannotWrite(dir, err)
	}
	for _, name := range programNames {
		s.Step("program " + name)
		if err := writeSynced(filepath.Join(to, name), &content{Text: p[name], Mode: 0o755}); err != nil {
			return "", fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
		}
	}
	return dir, syncDir(to)
}

// try runs the shim on the host as containerd does to learn what it can, with the
// options that it would get.
func (s *session) try(ctx context.Context, dir string, table tree) error {
	options, _ := table["options"].(tree)
	body, err := marshalTOML(options)
	if err != nil {
		return err
	}
	any, err := typeurl.MarshalAnyToProto(&runtimeoptions.Options{ConfigBody: []byte(body)})
	if err != nil {
		return err
	}
	b, err := proto.Marshal(any)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := s.host.run(ctx, b, filepath.Join(dir, shimName), "-info"); err != nil {
		return fmt.Errorf("the shim does not run on this node: %w", err)
	}
	return nil
}

// collect removes the versions that no Pod can still run from: those that lost
// "current" before every running shim was started. What is in doubt stays.
func (s *session) collect() error {
	oldest, running, err := s.host.oldestOf(s.Prefix, time.Now())
	if err != nil {
		return nil // no view of the host's processes
	}
	dir, err := s.host.resolve(filepath.Join(s.Prefix, versions))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || e.Name() == filepath.Base(s.currentDir()) {
			continue
		}
		// Start times are rounded, and counted from a clock that is adjusted.
		if running && !fi.ModTime().Before(oldest.Add(-2*time.Second)) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// retire marks the time at which a version lost "current".
func (s *session) retire(dir string) error {
	p, err := s.host.resolve(dir)
	if err != nil {
		return err
	}
	now := time.Now()
	return os.Chtimes(p, now, now)
}

// oldestOf returns when the oldest process on the host was started that was executed
// from below the directory, if one runs.
func (h host) oldestOf(dir string, now time.Time) (oldest time.Time, running bool, _ error) {
	proc, err := h.resolve("/proc")
	if err != nil {
		return oldest, running, err
	}
	var up float64
	b, err := os.ReadFile(filepath.Join(proc, "uptime"))
	if err != nil {
		return oldest, running, err
	}
	if _, err := fmt.Sscan(string(b), &up); err != nil {
		return oldest, running, err
	}
	boot := now.Add(-time.Duration(up * float64(time.Second)))
	lines, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cmdline"))
	if err != nil {
		return oldest, running, err
	}
	for _, file := range lines {
		b, err := os.ReadFile(file)
		argv0, _, _ := strings.Cut(string(b), "\x00")
		if err != nil || !strings.HasPrefix(argv0, dir+"/") {
			continue // the process has ended, or is another's
		}
		started, err := startTime(filepath.Join(filepath.Dir(file), "stat"))
		if err != nil {
			continue
		}
		if t := boot.Add(started); !running || t.Before(oldest) {
			oldest, running = t, true
		}
	}
	return oldest, running, nil
}

// startTime is the 22nd field of proc(5)'s stat, whose unit is 1/100 s on every
// architecture that the shim is built for.
func startTime(stat string) (time.Duration, error) {
	b, err := os.ReadFile(stat)
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("%s has %d fields", stat, len(fields))
	}
	var ticks int64
	_, err = fmt.Sscan(fields[19], &ticks)
	return time.Duration(ticks) * 10 * time.Millisecond, err
}
