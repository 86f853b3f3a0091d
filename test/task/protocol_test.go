package task

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventstypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Types and flags of messages (ttrpc, PROTOCOL.md).
const (
	messageRequest  = 1
	messageResponse = 2
	messageData     = 3

	flagRemoteClosed = 1
	flagNoData       = 4

	// maxMessage is the longest that the shim reads.
	maxMessage = 4 << 20

	taskService = "containerd.task.v3.Task"
)

// message is one with its header; length may lie.
func message(length, stream uint32, kind, flags byte, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, length)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(append(b, kind, flags), payload...)
}

func honest(stream uint32, kind, flags byte, payload []byte) []byte {
	return message(uint32(len(payload)), stream, kind, flags, payload)
}

// request is a call on a stream.
func request(t testing.TB, stream uint32, service, method string, payload proto.Message, edit func(*ttrpc.Request)) []byte {
	t.Helper()
	b, err := proto.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	r := &ttrpc.Request{Service: service, Method: method, Payload: b}
	if edit != nil {
		edit(r)
	}
	if b, err = proto.Marshal(r); err != nil {
		t.Fatal(err)
	}
	return honest(stream, messageRequest, 0, b)
}

// rawConn speaks to the shim in bytes.
type rawConn struct {
	*net.UnixConn
	t testing.TB
}

func (s *shim) rawConn() rawConn {
	s.d.t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: strings.TrimPrefix(s.address, "unix://"), Net: "unix"})
	if err != nil {
		s.d.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		s.d.t.Fatal(err)
	}
	return rawConn{c, s.d.t}
}

func (c rawConn) send(messages ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(slices.Concat(messages...)); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the next response, or an error when there will be none.
func (c rawConn) receive() (stream uint32, r *ttrpc.Response, _ error) {
	header := make([]byte, 10)
	if _, err := io.ReadFull(c, header); err != nil {
		return 0, nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(header))
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, nil, err
	}
	r = &ttrpc.Response{}
	return binary.BigEndian.Uint32(header[4:]), r, proto.Unmarshal(b, r)
}

// awaitStart waits for the event of a start: from then on the shim has the
// connection for its events.
func (d *daemon) awaitStart() {
	d.waitEvents(func(events []any) bool {
		return slices.ContainsFunc(events, func(e any) bool { _, ok := e.(*eventstypes.TaskStart); return ok })
	})
}

// descriptors counts those that a process has open.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	return len(descriptorLinks(t, pid))
}

// descriptorLinks tells what each of them is.
func descriptorLinks(t testing.TB, pid int) (links []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		link, _ := os.Readlink(filepath.Join(dir, e.Name())) // one that was closed meanwhile is empty
		links = append(links, e.Name()+" "+link)
	}
	return links
}

// serving fails the test unless the shim answers on a new connection and has
// given up everything of the connections that have gone.
func (s *shim) serving(before int) {
	t := s.d.t
	t.Helper()
	c := s.rawConn()
	c.send(request(t, 1, taskService, "Connect", &taskapi.ConnectRequest{ID: s.id}, nil))
	if stream, r, err := c.receive(); err != nil || stream != 1 || r.Status.GetCode() != 0 {
		t.Fatalf("Connect: stream %d, %v, %v", stream, r, err)
	}
	c.Close()
	deadline := time.Now().Add(patience)
	for descriptors(t, s.pid) > before {
		if time.Now().After(deadline) {
			links := descriptorLinks(t, s.pid)
			t.Fatalf("the shim has %d descriptors open, and had %d:\n%s", len(links), before, strings.Join(links, "\n"))
		}
		time.Sleep(time.Millisecond)
	}
}

func TestMalformedMessagesCostNothingButTheirAnswer(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	d.awaitStart()
	before := descriptors(t, s.pid)
	state := func(stream uint32) []byte {
		return request(t, stream, taskService, "State", &taskapi.StateRequest{ID: "a"}, nil)
	}
	call := func(method string, edit func(*ttrpc.Request)) []byte {
		return request(t, 1, taskService, method, &taskapi.StateRequest{ID: "a"}, edit)
	}
	const nothing = codes.Code(1000) // no answer at all
	for name, test := range map[string]struct {
		messages [][]byte
		want     []codes.Code // in any order
	}{
		"an even stream":               {[][]byte{state(2)}, []codes.Code{codes.InvalidArgument}},
		"stream 0":                     {[][]byte{state(0)}, []codes.Code{codes.InvalidArgument}},
		"the last stream":              {[][]byte{state(1<<32 - 1)}, []codes.Code{codes.OK}},
		"a stream twice":               {[][]byte{state(5), state(5)}, []codes.Code{codes.OK, codes.InvalidArgument}},
		"streams that go down":         {[][]byte{state(7), state(3)}, []codes.Code{codes.OK, codes.InvalidArgument}},
		"data for no stream":           {[][]byte{honest(9, messageData, 0, []byte("x"))}, []codes.Code{codes.InvalidArgument}},
		"the end of no stream":         {[][]byte{honest(9, messageData, flagRemoteClosed|flagNoData, nil)}, []codes.Code{codes.InvalidArgument}},
		"a response":                   {[][]byte{honest(1, messageResponse, 0, []byte("x"))}, nil},
		"an unknown type":              {[][]byte{honest(1, 0x7f, 0xff, []byte("x"))}, nil},
		"an empty request":             {[][]byte{honest(1, messageRequest, 0, nil)}, []codes.Code{codes.Unimplemented}},
		"half a request":               {[][]byte{honest(1, messageRequest, 0, []byte{0x0a, 0x7f, 'c'})}, []codes.Code{codes.InvalidArgument}},
		"a request of bytes":           {[][]byte{honest(1, messageRequest, 0, []byte("\xff\xff\xff\xff"))}, []codes.Code{codes.InvalidArgument}},
		"an unknown service":           {[][]byte{request(t, 1, "containerd.task.v4.Task", "State", &taskapi.StateRequest{ID: "a"}, nil)}, []codes.Code{codes.Unimplemented}},
		"an unknown method":            {[][]byte{call("state", nil)}, []codes.Code{codes.Unimplemented}},
		"a service of the old version": {[][]byte{request(t, 1, "containerd.task.v2.Task", "State", &taskapi.StateRequest{ID: "a"}, nil)}, []codes.Code{codes.OK}},
		"half a payload":               {[][]byte{call("State", func(r *ttrpc.Request) { r.Payload = []byte{0x0a, 5, 'a'} })}, []codes.Code{codes.Internal}},
		"a payload that is no UTF-8":   {[][]byte{call("State", func(r *ttrpc.Request) { r.Payload = []byte{0x0a, 1, 0xff} })}, []codes.Code{codes.Internal}},
		"a payload of another call":    {[][]byte{request(t, 1, taskService, "State", &taskapi.CreateTaskRequest{ID: "a", Bundle: "/", Stdin: "x"}, nil)}, []codes.Code{codes.NotFound}},
		"fields of unknown numbers":    {[][]byte{call("State", func(r *ttrpc.Request) { r.Payload = append(r.Payload, 0xfa, 0x7f, 1, 'x') })}, []codes.Code{codes.OK}},
		"no payload":                   {[][]byte{call("State", func(r *ttrpc.Request) { r.Payload = nil })}, []codes.Code{codes.NotFound}},
		"a wrong type of a field":      {[][]byte{call("Kill", func(r *ttrpc.Request) { r.Payload = []byte{0x0a, 1, 'b', 0x1a, 1, 'x'} })}, []codes.Code{codes.NotFound}},
		"options of bytes":             {[][]byte{call("Create", func(r *ttrpc.Request) { r.Payload = []byte("\x0a\x01b\x12\x0a/no/bundle\x52\x06\x0a\x01x\x12\x01\xff") })}, []codes.Code{codes.InvalidArgument}},
		"metadata of nothing": {[][]byte{call("State", func(r *ttrpc.Request) {
			r.Metadata = []*ttrpc.KeyValue{{}, {Key: "containerd-namespace-ttrpc", Value: "../\n"}, {Key: strings.Repeat("k", 1<<16)}}
		})}, []codes.Code{codes.OK}},
		"a time that is over":    {[][]byte{call("Wait", func(r *ttrpc.Request) { r.TimeoutNano = -1 })}, []codes.Code{codes.DeadlineExceeded}},
		"the longest message":    {[][]byte{honest(1, messageRequest, 0, make([]byte, maxMessage))}, []codes.Code{codes.InvalidArgument}},
		"a message too long":     {[][]byte{honest(1, messageRequest, 0, make([]byte, maxMessage+1))}, []codes.Code{codes.ResourceExhausted}},
		"half a header":          {[][]byte{{0, 0, 0}}, []codes.Code{nothing}},
		"more than comes":        {[][]byte{message(100, 1, messageRequest, 0, []byte("x"))}, []codes.Code{nothing}},
		"much more than comes":   {[][]byte{message(1<<32-1, 1, messageRequest, 0, []byte("x"))}, []codes.Code{nothing}},
		"nothing but bytes":      {[][]byte{[]byte(strings.Repeat("GET / HTTP/1.1\r\n", 10))}, []codes.Code{nothing}},
		"a call that nobody has": {[][]byte{call("Checkpoint", func(r *ttrpc.Request) { r.Payload = []byte{0x0a, 1, 'a', 0x12, 0} })}, []codes.Code{codes.Unimplemented}},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.rawConn()
			c.t = t
			defer c.Close()
			c.send(test.messages...)
			if slices.Equal(test.want, []codes.Code{nothing}) {
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if _, r, err := c.receive(); err == nil {
					t.Errorf("an answer: %v", r)
				}
				return
			}
			var got []codes.Code
			for range test.want {
				_, r, err := c.receive()
				if err != nil {
					t.Fatalf("after %v: %v", got, err)
				}
				got = append(got, codes.Code(r.Status.GetCode()))
			}
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(test.want)); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if name == "the last stream" {
				return
			}
			// The connection goes on where its framing was not lost.
			c.send(state(1<<31 + 1))
			if _, r, err := c.receive(); err != nil || r.Status.GetCode() != 0 {
				t.Errorf("the next call: %v, %v", r, err)
			}
		})
	}
	s.serving(before)
	s.endRunning("a")
}

// endRunning ends a running container as a daemon does.
func (s *shim) endRunning(id string) {
	s.d.t.Helper()
	if err := s.kill(id, unix.SIGKILL); err != nil {
		s.d.t.Fatal(err)
	}
	if status := s.wait(id); status != 137 {
		s.d.t.Errorf("%s ended with %d", id, status)
	}
	if _, err := s.delete(id); err != nil {
		s.d.t.Error(err)
	}
}

func TestDuplicatedCallsHaveTheirEffectOnce(t *testing.T) {
	d := newDaemon(t)
	for _, id := range []string{"pod", "b"} {
		d.bundle(id, spin(), nil)
	}
	s := d.start("pod")
	ctx := context.Background()
	if _, err := s.Start(ctx, &taskapi.StartRequest{ID: "b"}); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		t.Errorf("Start before Create: %v", err)
	}
	if _, err := s.delete("b"); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		t.Errorf("Delete before Create: %v", err)
	}
	const times = 8
	// once makes a call several times at once and expects one success.
	once := func(name string, call func() error, refused ...func(error) bool) {
		t.Helper()
		errs := make([]error, times)
		var running sync.WaitGroup
		for i := range errs {
			running.Go(func() { errs[i] = call() })
		}
		running.Wait()
		done := 0
		for _, err := range errs {
			if err == nil {
				done++
			} else if native := errgrpc.ToNative(err); !slices.ContainsFunc(refused, func(is func(error) bool) bool { return is(native) }) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if done != 1 {
			t.Errorf("%s succeeded %d times of %d", name, done, times)
		}
	}
	var before int
	for round := range 4 {
		if round == 1 {
			d.awaitStart() // the connection for events is there
			before = descriptors(t, s.pid)
		}
		once("Create", func() error { _, err := s.create("b"); return err }, errdefs.IsAlreadyExists)
		once("Start", func() error { _, err := s.Start(ctx, &taskapi.StartRequest{ID: "b"}); return err }, errdefs.IsFailedPrecondition)
		if err := s.kill("b", unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.wait("b")
		once("Delete", func() error { _, err := s.delete("b"); return err }, errdefs.IsNotFound)
	}
	s.serving(before)
	d.assertNothingLeft()
}

func TestConnectionsThatDoNotBehaveHinderNobody(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	d.awaitStart()
	before := descriptors(t, s.pid)

	t.Run("answers that nobody reads", func(t *testing.T) {
		c := s.rawConn()
		defer c.Close()
		if err := c.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var err error
		for stream := uint32(1); err == nil && stream < 200_000; stream += 2 {
			_, err = c.Write(request(t, stream, taskService, "State", &taskapi.StateRequest{ID: "a"}, nil))
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := s.State(context.Background(), &taskapi.StateRequest{ID: "a"}); err != nil {
			t.Errorf("another connection: %v", err)
		}
	})
	s.serving(before)

	t.Run("calls whose caller leaves", func(t *testing.T) {
		for i := range 50 {
			c := s.rawConn()
			c.send(request(t, 1, taskService, "Wait", &taskapi.WaitRequest{ID: "a"}, nil))
			if i%2 == 0 {
				// Half closed: the other half goes with the calls.
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if _, _, err := c.receive(); err == nil {
					t.Error("the container has ended")
				}
			}
			c.Close()
		}
	})
	s.serving(before)

	t.Run("idle connections", func(t *testing.T) {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		conns := make([]rawConn, min(3000, limit.Cur/2))
		for i := range conns {
			conns[i] = s.rawConn()
			if i%3 == 0 {
				conns[i].send([]byte{0, 0, 0, 1})
			}
		}
		if _, err := s.State(context.Background(), &taskapi.StateRequest{ID: "a"}); err != nil {
			t.Errorf("beside %d idle connections: %v", len(conns), err)
		}
		for _, c := range conns {
			c.Close()
		}
	})
	s.serving(before)
	s.endRunning("a")
}

// The ttrpc library has no stream for a call without one and does not expect data
// for it: the message ends the process (as of 1.2.10, serverConn.run uses the nil
// streamHandler of a unary call). Only root can connect. What a daemon does about
// a shim that is gone cleans up as after SIGKILL.
func TestDataForACallLeavesNothingBehind(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	c := s.rawConn()
	defer c.Close()
	c.send(request(t, 1, taskService, "Wait", &taskapi.WaitRequest{ID: "a"}, nil), honest(1, messageData, 0, []byte("x")))
	if _, r, err := c.receive(); err == nil {
		t.Logf("the shim answers: %v", r)
		s.serving(descriptors(t, s.pid))
		s.endRunning("a")
		return
	}
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err == nil {
		defer unix.Close(fd)
		waitEnd(t, fd)
	} else if !errors.Is(err, unix.ESRCH) {
		t.Fatal(err)
	}
	if resp := d.cleanup("a"); resp.ExitStatus != 137 {
		t.Errorf("the container ended with %d", resp.ExitStatus)
	}
	d.assertNothingLeft()
	d.assertNoProcess()
}
