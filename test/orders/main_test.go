package orders

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// patience is for what happens a little later than its cause, on a machine that
// has other work.
const patience = 60 * time.Second

// stage and services are what all tests share, one after the other. They are
// started for the first test that needs them and go on to the last.
var (
	mu       sync.Mutex // guards stage against an interrupt
	stage    *Stage
	services = map[string]*Service{}
)

var guests = []string{"orders-rust", "orders-go"}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	code := 130
	select {
	case code = <-done:
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	if stage == nil {
		return code
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "log of containerd:\n%s\n", daemon.Complaints(stage.Daemon.Log()))
	}
	var err error
	for _, s := range services {
		err = errors.Join(err, s.Remove(context.Background()))
	}
	left, closeErr := stage.Close()
	if err := errors.Join(err, closeErr); err != nil || len(left) > 0 {
		fmt.Fprintf(os.Stderr, "orders: at the end: %v\n%s\n", err, strings.Join(left, "\n"))
		return max(code, 1)
	}
	return code
}

// needsStage opens the stage for the first test that needs it.
func needsStage(t *testing.T) {
	t.Helper()
	bin := os.Getenv("E2E_BIN")
	if bin == "" {
		t.Skip("E2E_BIN is not set: run `make e2e`")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	mu.Lock()
	defer mu.Unlock()
	if stage != nil {
		return
	}
	store, err := provision.Open(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(context.Background(), store, bin) // it outlives the test
	if err != nil {
		t.Fatal(err)
	}
	stage = s
}

// onEachGuest runs the test on the service in each language, with an empty
// table.
func onEachGuest(t *testing.T, test func(t *testing.T, s *Service)) {
	t.Helper()
	needsStage(t)
	for _, guest := range guests {
		t.Run(guest, func(t *testing.T) {
			s := running(t, guest)
			printed := len(s.Output.String())
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s printed:\n%s", guest, s.Output.String()[printed:])
				}
			})
			s.empty(t)
			test(t, s)
		})
	}
}

// running returns the service that tests share.
func running(t *testing.T, guest string) *Service {
	t.Helper()
	if services[guest] == nil {
		services[guest] = start(t, ServiceConfig{Guest: guest, Port: 8080 + len(services)})
	}
	return services[guest]
}

// start starts a service and waits until it listens.
func start(t *testing.T, c ServiceConfig) *Service {
	t.Helper()
	ctx := context.Background() // it outlives the test
	s, err := stage.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listens(t.Context()); err != nil {
		_ = s.Remove(ctx)
		t.Fatal(err)
	}
	return s
}

// one starts a service for the caller alone.
func one(t *testing.T, c ServiceConfig) *Service {
	t.Helper()
	c.Port = 9000
	s := start(t, c)
	t.Cleanup(func() {
		if err := s.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// empty makes the table anew. The first answer after a restart of the database,
// which another test may have done, is that the connection broke.
func (v *Service) empty(t *testing.T) {
	t.Helper()
	within(t, "the table is made", func() bool {
		code, _ := v.do(t, http.MethodPut, "/table", "")
		return code == http.StatusNoContent
	})
}

// do sends a request on a connection of its own and returns status and body.
func (v *Service) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	client := v.Client(1)
	defer client.CloseIdleConnections()
	code, got, err := ask(t.Context(), client, method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return code, got
}

func ask(ctx context.Context, client *http.Client, method, path, body string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://orders"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, strings.TrimSuffix(string(b), "\n"), err
}

// want fails the test unless the request has exactly this answer.
func (v *Service) want(t *testing.T, method, path, body string, code int, answer string) {
	t.Helper()
	gotCode, got := v.do(t, method, path, body)
	if gotCode != code || got != answer {
		t.Errorf("%s %s %s: got %d %s, want %d %s", method, path, body, gotCode, got, code, answer)
	}
}

// order is one as clients see it.
type order struct {
	ID       uint64 `json:"id"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Quantity uint32 `json:"quantity"`
	Cents    uint64 `json:"cents"`
}

func (v *Service) list(t *testing.T) (all []order) {
	t.Helper()
	code, body := v.do(t, http.MethodGet, "/orders", "")
	if code != http.StatusOK {
		t.Fatalf("GET /orders: %d %s", code, body)
	}
	decode(t, body, &all)
	return all
}

func decode(t *testing.T, body string, to any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}

// within waits until the condition holds, and fails the test when patience ends.
func within(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
