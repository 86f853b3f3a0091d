package wasi

import "testing"

func TestProvider(t *testing.T) {
	for _, tt := range []struct {
		module, name string
		params       int
		want         string
	}{
		{Preview1, "fd_write", 4, ByPreview1},
		{Preview1, "fd_write", 3, ""},
		{Preview1, "sock_accept", 3, ByPreview1},
		{Preview1, "sock_accept", 2, bySockets1},
		{Preview1, "sock_accept_v2", 3, bySockets2},
		{Preview1, "sock_recv_from", 7, bySockets1},
		{Preview1, "sock_recv_from", 8, bySockets2},
		{Preview1, "sock_getpeeraddr", 4, bySockets1},
		{Preview1, "sock_getpeeraddr", 3, bySockets2},
		{Preview1, "sock_open", 3, bySockets},
		{Preview1, "epoll_oneoff", 4, bySockets},
		{Preview1, "sock_accep$", 2, bySockets1},
		{Preview1, "", 0, ""},
		{Env, "abort", 4, byEnv},
		{Env, "fd_write", 4, ""},
		{"wasi_unstable", "fd_write", 4, ""},
	} {
		if got := Provider(tt.module, tt.name, tt.params); got != tt.want {
			t.Errorf("%s.%s of %d parameters is provided by %q, want %q", tt.module, tt.name, tt.params, got, tt.want)
		}
	}
}
