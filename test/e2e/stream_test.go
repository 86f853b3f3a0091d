package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// streamSize is how many bytes go through each host function: enough for every
// buffer on the way to fill many times, or 1 GiB with E2E_STREAM=full.
func streamSize() int64 {
	if os.Getenv("E2E_STREAM") == "full" {
		return 1 << 30
	}
	return 64 << 20
}

// Every byte arrives once and in its place, through each function and each kind
// of descriptor, in reads and writes of all sizes, and with a peer that rests now
// and then.
func TestNoByteOfALongStreamIsLost(t *testing.T) {
	size := streamSize()
	want := hashOf(t, io.LimitReader(newNumbers(), size), size)
	onNewestDaemon(t, func(t *testing.T, h *host) {
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		for _, target := range []string{"stdio", "file", "socket", "poll"} {
			calls := []string{"write", "read"} // of a file the one after the other
			if target == "socket" || target == "poll" {
				calls = append(calls, "send", "recv", "send_v2", "recv_v2")
			}
			for _, call := range calls {
				t.Run(target+"/"+call, func(t *testing.T) {
					p := newPeer(t, size)
					c := h.newContainerOf(t, "stream", []string{target, call, strconv.FormatInt(size, 10), p.port()},
						oci.WithHostNamespace(specs.NetworkNamespace),
						oci.WithMounts([]specs.Mount{{Type: "bind", Source: dir, Destination: "/data", Options: []string{"bind"}}}))
					var got string
					if call == "write" || strings.HasPrefix(call, "send") {
						got = c.sends(t, target, p, file)
					} else {
						got = c.receives(t, target, p)
					}
					if got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				})
			}
		}
	})
}

// sends runs a guest that sends, and returns the number of bytes and the hash of
// what has arrived.
func (c *container) sends(t *testing.T, target string, p *peer, file string) (arrived string) {
	t.Helper()
	hashes := make(chan string, 1)
	switch target {
	case "file":
		c.pipe(t, nil, io.Discard)
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		arrived = hashOf(t, f, p.size)
	case "stdio":
		r, w := io.Pipe()
		go func() { hashes <- p.hash(r) }()
		c.pipe(t, nil, w)
		w.Close()
		arrived = <-hashes
	default:
		go func() { hashes <- p.receive() }()
		c.pipe(t, nil, io.Discard)
		arrived = <-hashes
	}
	if moved := fmt.Sprintf("%d ", p.size); !strings.HasPrefix(c.stderr.String(), moved) {
		t.Errorf("the guest says %q", c.stderr.String())
	}
	return arrived
}

// receives runs a guest that receives, and returns what it says has arrived.
func (c *container) receives(t *testing.T, target string, p *peer) (arrived string) {
	t.Helper()
	switch target {
	case "file":
		c.pipe(t, nil, io.Discard)
	case "stdio":
		c.pipe(t, p.numbers(), io.Discard)
	default:
		sent := make(chan error, 1)
		go func() { sent <- p.send() }()
		c.pipe(t, nil, io.Discard)
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
	return strings.TrimSpace(c.stderr.String())
}

// pipe runs the guest to its end between two streams.
func (c *container) pipe(t *testing.T, stdin io.Reader, stdout io.Writer) {
	t.Helper()
	task, err := c.NewTask(t.Context(), cio.NewCreator(cio.WithStreams(stdin, stdout, &c.stderr), cio.WithFIFODir(c.h.Dir+"/fifo")))
	if err != nil {
		t.Fatal(err)
	}
	exit, err := task.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	status := <-exit // as long as it takes
	if status.Error() != nil || status.ExitCode() != 0 {
		t.Errorf("the guest ended with %d, %v: %s", status.ExitCode(), status.Error(), &c.stderr)
	}
	c.remove(t, task)
}

// peer is the other end of a stream.
type peer struct {
	listener net.Listener
	size     int64
}

func newPeer(t *testing.T, size int64) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &peer{l, size}
}

func (p *peer) port() string {
	_, port, _ := net.SplitHostPort(p.listener.Addr().String())
	return port
}

// accept takes the guest's connection, the only one, with small buffers, so that
// the guest's calls are short ones.
func (p *peer) accept() (net.Conn, error) {
	defer p.listener.Close()
	if err := p.listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	conn, err := p.listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	return conn, errors.Join(tcp.SetReadBuffer(32<<10), tcp.SetWriteBuffer(32<<10))
}

// receive returns what hashOf says of what a guest sends.
func (p *peer) receive() string {
	conn, err := p.accept()
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return p.hash(conn)
}

func (p *peer) hash(r io.Reader) string {
	sum, err := hash(&restful{r: r}, p.size)
	if err != nil {
		return err.Error()
	}
	return sum
}

// send sends the numbers.
func (p *peer) send() error {
	conn, err := p.accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	// A struct hides what would let io.Copy go around the reader.
	_, err = io.Copy(struct{ io.Writer }{conn}, p.numbers())
	return err
}

func (p *peer) numbers() io.Reader {
	return &restful{r: io.LimitReader(newNumbers(), p.size)}
}

// restful reads in sizes of every kind and rests now and then.
type restful struct {
	r     io.Reader
	sizes numbers
	read  int64
}

func (r *restful) Read(p []byte) (int, error) {
	const rests = 8 << 20
	if r.sizes.state == 0 {
		r.sizes.state = 7
	}
	most := 1 + int(r.sizes.next()%(64<<10))
	n, err := r.r.Read(p[:min(most, len(p))])
	if before := r.read / rests; (r.read+int64(n))/rests > before {
		time.Sleep(20 * time.Millisecond) // this is the slow peer
	}
	r.read += int64(n)
	return n, err
}

// numbers are the bytes that test/guests/stream.c sends.
type numbers struct {
	state uint64
	left  []byte
	word  [8]byte
}

func newNumbers() *numbers { return &numbers{state: 1} }

func (n *numbers) next() uint64 {
	n.state ^= n.state << 13
	n.state ^= n.state >> 7
	n.state ^= n.state << 17
	return n.state
}

func (n *numbers) Read(p []byte) (done int, _ error) {
	for done < len(p) {
		if len(n.left) == 0 {
			binary.LittleEndian.PutUint64(n.word[:], n.next())
			n.left = n.word[:]
		}
		copied := copy(p[done:], n.left)
		n.left = n.left[copied:]
		done += copied
	}
	return done, nil
}

// hash returns the number of bytes up to the end of r and their hash, as the
// guest prints them.
func hash(r io.Reader, size int64) (string, error) {
	h := fnv.New64a()
	n, err := io.CopyBuffer(h, io.LimitReader(r, size+1), make([]byte, 64<<10))
	return fmt.Sprintf("%d %016x", n, h.Sum64()), err
}

func hashOf(t *testing.T, r io.Reader, size int64) string {
	t.Helper()
	sum, err := hash(r, size)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
