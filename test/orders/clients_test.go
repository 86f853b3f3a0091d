package orders

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// raw is a connection of a client that does as it likes.
func raw(t *testing.T, s *Service) *net.TCPConn {
	t.Helper()
	c, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

const postTea = "POST /orders HTTP/1.1\r\nHost: orders\r\nContent-Length: 56\r\n\r\n"

func TestASlowClientHoldsUpNobody(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		slow := raw(t, s)
		if len(tea) != 56 {
			t.Fatalf("the length of the body is %d", len(tea))
		}
		request := postTea + tea
		for i := range request {
			send(t, slow, request[i:i+1])
			if i%30 == 0 {
				s.want(t, "GET", "/orders", "", 200, "[]")
			}
		}
		if code, body, err := readAnswer(slow); err != nil || code != 201 || body != tea1 {
			t.Errorf("the slow client got %d %s, %v", code, body, err)
		}
	})
}

// An echo of more than all buffers on the way, whose client does not read at
// first: the service has to stop reading it, and to go on with others.
func TestAClientThatDoesNotReadHoldsUpNobodyAndLosesNothing(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		sent := make([]byte, 32<<20)
		rand.Read(sent)
		c := raw(t, s)
		send(t, c, fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: orders\r\nContent-Length: %d\r\n\r\n", len(sent)))
		// It is stuck when it takes no more for a while.
		n := 0
		for {
			if err := c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			m, err := c.Write(sent[n:min(n+64<<10, len(sent))])
			n += m
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil || n == len(sent) {
				t.Fatalf("sent %d bytes of %d and was not stopped: %v", n, len(sent), err)
			}
		}
		s.want(t, "POST", "/orders", tea, 201, tea1)
		if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		rest := make(chan error, 1)
		go func() {
			_, err := c.Write(sent[n:])
			rest <- err
		}()
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		got, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, <-rest); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came back, which are not the %d that were sent", len(got), len(sent))
		}
	})
}

func TestAHalfClosedConnectionGetsItsAnswer(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		for i := range 20 {
			c := raw(t, s)
			send(t, c, postTea+tea)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			want := strings.Replace(tea1, ":1,", fmt.Sprintf(":%d,", i+1), 1)
			if code, body, err := readAnswer(c); err != nil || code != 201 || body != want {
				t.Fatalf("got %d %s, %v", code, body, err)
			}
			// Then the service has nothing more to do on it.
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("after the answer: %d bytes, %v", n, err)
			}
		}
	})
}

func TestClientsThatVanish(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		s.want(t, "POST", "/orders", tea, 201, tea1)
		before := s.descriptors(t)
		for i := range 60 {
			c := raw(t, s)
			switch i % 6 {
			case 0: // at once
			case 1: // in the head
				send(t, c, postTea[:40])
			case 2: // in the body
				send(t, c, postTea+tea[:20])
			case 3: // before the answer
				send(t, c, "GET /orders HTTP/1.1\r\nHost: orders\r\n\r\n")
			case 4: // in an echo
				send(t, c, "POST /echo HTTP/1.1\r\nHost: orders\r\nContent-Length: 9999999\r\n\r\n"+strings.Repeat("x", 1<<16))
			case 5: // no HTTP at all
				send(t, c, "\x16\x03\x01 hello\r\n\r\n")
			}
			if i%2 == 0 {
				// With a reset.
				if err := c.SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
		}
		s.want(t, "GET", "/orders", "", 200, "["+tea1+"]")
		within(t, "the service closes its ends", func() bool { return s.descriptors(t) <= before+16 })
	})
}
