package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// suite is what all tests of a run share.
type suite struct {
	bin      string
	versions []string
	churn    int
	faults   bool // every moment, on every version
	// longest is what no test takes.
	longest time.Duration
	store   *provision.Store

	pool pool
}

var theSuite suite

// usualChurn is several times what withoutGrowth lets pass, so that a leak of each
// container is found even in a quarter of it.
const usualChurn = 160

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		theSuite.pool.stopAll()
		os.Exit(130)
	}()
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	if left := theSuite.pool.stopAll(); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: left when the daemons stopped:\n%s\n", strings.Join(left, "\n"))
		code = max(code, 1)
	}
	return code
}

func setUp() (err error) {
	s := &theSuite
	s.pool.free, s.pool.all = map[kind][]*host{}, map[*host]bool{}
	s.bin = os.Getenv("E2E_BIN")
	s.churn = usualChurn
	if n := os.Getenv("E2E_CHURN"); n != "" {
		if s.churn, err = strconv.Atoi(n); err != nil {
			return fmt.Errorf("E2E_CHURN: %w", err)
		}
	}
	s.faults = os.Getenv("E2E_FAULTS") != ""
	s.longest = 5 * time.Minute
	if s.faults || s.churn > usualChurn || streamSize() > 1<<29 {
		s.longest = 2 * time.Hour
	}
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

func (s *suite) programs(ctx context.Context, version string) (daemon.Programs, error) {
	containerd, err := s.store.Containerd(ctx, version)
	if err != nil {
		return daemon.Programs{}, err
	}
	runc, err := s.store.Runc(ctx)
	return daemon.Programs{Containerd: containerd, Runc: runc, Shim: s.bin}, err
}
