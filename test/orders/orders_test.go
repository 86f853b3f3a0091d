package orders

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	tea  = `{"customer":"Ada","item":"Tea","quantity":2,"cents":700}`
	tea1 = `{"id":1,"customer":"Ada","item":"Tea","quantity":2,"cents":700}`
	mug  = `{"customer":"Zoë 😀","item":"\"Mug\"","quantity":1,"cents":18446744073709551615}`
	mug2 = `{"id":2,"customer":"Zoë 😀","item":"\"Mug\"","quantity":1,"cents":18446744073709551615}`
)

func TestOrdersAreCreatedListedChangedAndDeleted(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		s.want(t, "GET", "/orders", "", 200, "[]")
		s.want(t, "POST", "/orders", tea, 201, tea1)
		s.want(t, "POST", "/orders", "["+mug+","+tea+"]", 201, "["+mug2+","+strings.Replace(tea1, ":1,", ":3,", 1)+"]")
		s.want(t, "GET", "/orders/2", "", 200, mug2)
		s.want(t, "PUT", "/orders/3", mug, 200, strings.Replace(mug2, ":2,", ":3,", 1))
		s.want(t, "PUT", "/orders/3", mug, 200, strings.Replace(mug2, ":2,", ":3,", 1)) // the same again
		s.want(t, "DELETE", "/orders/1", "", 204, "")
		s.want(t, "DELETE", "/orders/1", "", 404, `{"error":"not found"}`)
		s.want(t, "GET", "/orders/1", "", 404, `{"error":"not found"}`)
		s.want(t, "PUT", "/orders/1", tea, 404, `{"error":"not found"}`)
		s.want(t, "GET", "/orders", "", 200, "["+mug2+","+strings.Replace(mug2, ":2,", ":3,", 1)+"]")
		s.want(t, "PUT", "/table", "", 204, "")
		s.want(t, "POST", "/orders", "[]", 201, "[]")
		s.want(t, "GET", "/orders", "", 200, "[]")
	})
}

func TestManyOrdersAtOnceAreAllOrNothing(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		many := make([]string, 1000)
		for i := range many {
			many[i] = fmt.Sprintf(`{"customer":"c%d","item":"i","quantity":1,"cents":%d}`, i, i)
		}
		code, body := s.do(t, "POST", "/orders", "["+strings.Join(many, ",")+"]")
		if code != 201 {
			t.Fatalf("%d %s", code, body)
		}
		var created []order
		decode(t, body, &created)
		if got := s.list(t); len(got) != 1000 || fmt.Sprint(got) != fmt.Sprint(created) {
			t.Errorf("created %d and listed %d orders", len(created), len(got))
		}
		for _, wrong := range []string{
			"[" + strings.Join(append(many, many[0]), ",") + "]", // one too many
			`[` + tea + `,{"customer":"","item":"i","quantity":1,"cents":1}]`,
			`[` + tea + `,{"customer":"c","item":"` + strings.Repeat("é", 101) + `","quantity":1,"cents":1}]`,
			`{"customer":"c","item":"i","quantity":0,"cents":1}`,
			`{"customer":"c","item":"i","quantity":-1,"cents":1}`,
			`{"customer":"c","item":"i","quantity":1,"cents":1,"id":7}`,
			`{"customer":"c"`,
			``,
		} {
			if code, body := s.do(t, "POST", "/orders", wrong); code != 400 || !strings.HasPrefix(body, `{"error":"`) {
				t.Errorf("%.90s: got %d %s", wrong, code, body)
			}
		}
		if got := len(s.list(t)); got != 1000 {
			t.Errorf("there are %d orders after wrong requests", got)
		}
		// 100 characters of 2 bytes are not too long.
		if code, body := s.do(t, "POST", "/orders", strings.Replace(tea, "Tea", strings.Repeat("é", 100), 1)); code != 201 {
			t.Errorf("got %d %s", code, body)
		}
		if code, _ := s.do(t, "POST", "/orders", strings.Repeat(" ", 1<<20)+tea); code != http.StatusRequestEntityTooLarge {
			t.Errorf("a body that is too large has the answer %d", code)
		}
	})
}

func TestRoutesThatAreNot(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		for _, tt := range []struct {
			method, path string
			want         int
		}{
			{"GET", "/nothing", 404},
			{"GET", "/orders/x", 404},
			{"GET", "/orders/99999999999999999999", 404},
			{"GET", "/shipping/pigeon", 404},
			{"DELETE", "/orders", 405},
			{"GET", "/table", 405},
			{"GET", "/echo", 405},
		} {
			if code, body := s.do(t, tt.method, tt.path, ""); code != tt.want {
				t.Errorf("%s %s: got %d %s, want %d", tt.method, tt.path, code, body, tt.want)
			}
		}
		if code, body := s.do(t, "GET", "/", ""); code != 200 || !strings.HasPrefix(body, "<!DOCTYPE html>") {
			t.Errorf("the page: %d %.50s", code, body)
		}
	})
}

// The synchronous client: a container that ends, as an init container does.
func TestTheTableIsMadeByAContainerThatEnds(t *testing.T) {
	onEachGuest(t, func(t *testing.T, s *Service) {
		s.want(t, "POST", "/orders", tea, 201, tea1)
		migrate, err := stage.Start(t.Context(), ServiceConfig{Guest: s.Guest, Verb: "migrate"})
		if err != nil {
			t.Fatal(err)
		}
		code, err := migrate.Ended(t.Context())
		if err := migrate.Remove(t.Context()); err != nil {
			t.Error(err)
		}
		if out := migrate.Output.String(); err != nil || code != 0 || out != "orders: the table has 1 orders\n" {
			t.Errorf("it ended with %d, %v and printed %q", code, err, out)
		}
		s.want(t, "GET", "/orders", "", 200, "["+tea1+"]")
	})
}
