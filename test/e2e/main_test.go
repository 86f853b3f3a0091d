package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// suite is what all tests of a run share.
type suite struct {
	bin      string
	versions []string
	churn    int
	faults   bool // every moment, on every version
	store    *provision.Store

	mu    sync.Mutex
	hosts map[string]*host // the daemons that tests share, by version
}

var theSuite suite

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stopSharedDaemons()
		os.Exit(130)
	}()
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	if left := stopSharedDaemons(); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: left when the daemons stopped:\n%s\n", strings.Join(left, "\n"))
		code = max(code, 1)
	}
	return code
}

func setUp() (err error) {
	s := &theSuite
	s.hosts = map[string]*host{}
	s.bin = os.Getenv("E2E_BIN")
	s.churn = 300
	if n := os.Getenv("E2E_CHURN"); n != "" {
		if s.churn, err = strconv.Atoi(n); err != nil {
			return fmt.Errorf("E2E_CHURN: %w", err)
		}
	}
	s.faults = os.Getenv("E2E_FAULTS") != ""
	s.versions = provision.Versions
	if list := os.Getenv("E2E_DAEMONS"); list != "" {
		s.versions = strings.Split(list, ",")
		for _, v := range s.versions {
			if !slices.Contains(provision.Versions, v) {
				return fmt.Errorf("E2E_DAEMONS: %s is not one of %s", v, strings.Join(provision.Versions, ","))
			}
		}
	}
	s.store, err = provision.Open(os.Stderr)
	return err
}

func stopSharedDaemons() (left []string) {
	s := &theSuite
	s.mu.Lock()
	defer s.mu.Unlock()
	for version, h := range s.hosts {
		l, err := h.Stop(context.Background())
		if err != nil {
			l = append(l, err.Error())
		}
		for _, line := range l {
			left = append(left, version+": "+line)
		}
		delete(s.hosts, version)
	}
	return left
}

// startDaemon starts a containerd of that version for the caller alone.
func (s *suite) startDaemon(ctx context.Context, version string) (*host, error) {
	p, err := s.programs(ctx, version)
	if err != nil {
		return nil, err
	}
	d, err := daemon.Start(ctx, version, p)
	if err != nil {
		return nil, err
	}
	return &host{Daemon: d, imported: map[string]bool{}}, nil
}

func (s *suite) programs(ctx context.Context, version string) (daemon.Programs, error) {
	containerd, err := s.store.Containerd(ctx, version)
	if err != nil {
		return daemon.Programs{}, err
	}
	runc, err := s.store.Runc(ctx)
	return daemon.Programs{Containerd: containerd, Runc: runc, Shim: s.bin}, err
}
