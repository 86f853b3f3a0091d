package preview1

import (
	"reflect"
	"testing"
)

// WasmEdge exports its newer functions under names of their own as well, and its
// epoll takes what poll_oneoff takes.
func TestOtherNamesAreTheSameFunctions(t *testing.T) {
	names := map[string]string{"epoll_oneoff": "poll_oneoff"}
	for _, name := range []string{
		"sock_open", "sock_bind", "sock_listen", "sock_connect", "sock_accept", "sock_recv", "sock_recv_from",
		"sock_send", "sock_send_to", "sock_getlocaladdr", "sock_getpeeraddr",
	} {
		names[name+"_v2"] = name
	}
	for other, name := range names {
		signature, f := find(name)
		otherSignature, g := find(other)
		if f == nil || g == nil || reflect.ValueOf(f).Pointer() != reflect.ValueOf(g).Pointer() || signature != otherSignature {
			t.Errorf("%s is not %s", other, name)
		}
	}
}
