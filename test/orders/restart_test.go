package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"syscall"
	"testing"
)

func TestTheServiceOutlivesItsDatabase(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(fmt.Sprint(sig), func(t *testing.T) {
			onEachGuest(t, func(t *testing.T, s *Service) { outlive(t, s, sig) })
		})
	}
}

// outlive restarts the database among clients that create orders all the time.
func outlive(t *testing.T, s *Service, sig syscall.Signal) {
	ctx, stop := context.WithCancel(t.Context())
	client := s.Client(20)
	defer client.CloseIdleConnections()
	var answersMu sync.Mutex
	created := map[uint64]bool{} // as the service has said
	answers := map[int]int{}     // by status
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			for ctx.Err() == nil {
				// Not ended by stop: a request that was sent must have an answer.
				code, body, err := ask(t.Context(), client, "POST", "/orders", tea)
				if err != nil {
					t.Error(err)
					return
				}
				var o order
				if code == 201 {
					if err := json.Unmarshal([]byte(body), &o); err != nil {
						t.Error(err)
						return
					}
				}
				answersMu.Lock()
				answers[code]++
				if code == 201 {
					created[o.ID] = true
				}
				answersMu.Unlock()
			}
		})
	}
	count := func(code int) int {
		answersMu.Lock()
		defer answersMu.Unlock()
		return answers[code]
	}
	defer clients.Wait()
	defer stop()
	grows := func(code int) {
		t.Helper()
		before := count(code)
		within(t, fmt.Sprintf("answers %d", code), func() bool { return count(code) > before+20 })
	}
	for range 2 {
		grows(201)
		if err := stage.Database.Stop(sig); err != nil {
			t.Fatal(err)
		}
		grows(503)
		if err := stage.Database.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	grows(201)
	stop()
	clients.Wait()
	for code := range answers {
		if code != 201 && code != 503 {
			t.Errorf("there were answers %d", code)
		}
	}
	listed := map[uint64]bool{}
	for _, o := range s.list(t) {
		listed[o.ID] = true
	}
	for id := range created {
		if !listed[id] {
			t.Errorf("order %d was created and is not there", id)
		}
	}
	t.Logf("answers by status: %v", answers)
}
