package orders

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAThousandConcurrentRequests(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		client := s.Client(100)
		defer client.CloseIdleConnections()
		var left atomic.Int64
		left.Store(1000)
		var workers sync.WaitGroup
		for range 200 { // of which 100 wait for a connection
			workers.Go(func() {
				for left.Add(-1) >= 0 {
					code, body, err := ask(t.Context(), client, "POST", "/orders", tea)
					if err != nil || code != 201 {
						t.Errorf("got %d %s, %v", code, body, err)
						return
					}
				}
			})
		}
		workers.Wait()
		if got := len(s.list(t)); got != 1000 {
			t.Errorf("there are %d orders", got)
		}
	})
}

func TestAThousandOpenConnections(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		s.want(t, "POST", "/orders", tea, 201, tea1)
		before := s.descriptors(t)
		conns := make([]net.Conn, 1000)
		for i := range conns {
			var err error
			if conns[i], err = s.Dial(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer conns[i].Close()
			if err := conns[i].SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			for _, c := range conns {
				if _, err := io.WriteString(c, "GET /orders/1 HTTP/1.1\r\nHost: orders\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			for i, c := range conns {
				code, body, err := readAnswer(c)
				if err != nil || code != 200 || body != tea1 {
					t.Fatalf("connection %d: got %d %s, %v", i, code, body, err)
				}
			}
		}
		if got := s.descriptors(t); got < 1000 {
			t.Errorf("the service has %d descriptors", got)
		}
		for _, c := range conns {
			c.Close()
		}
		// The pool of the database may have grown by its size.
		within(t, "the service closes its ends", func() bool { return s.descriptors(t) <= before+16 })
	})
}

// readAnswer reads one answer from a connection that goes on.
func readAnswer(c net.Conn) (int, string, error) {
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, strings.TrimSuffix(string(b), "\n"), err
}

// descriptors is how many the service has open.
func (v *Service) descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.Task.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
