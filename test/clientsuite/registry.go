package clientsuite

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// registry answers for the registries whose images the suite names, so that the
// suite runs as it is where none can be reached. It listens on loopback as an
// HTTPS proxy, and says for every host what its contents have under that name.
type registry struct {
	contents *contents
	proxy    *http.Server
	address  string
	// certificate is what clients must trust, as PEM.
	certificate []byte

	behind  *http.Server
	tunnels tunnels
	ended   sync.WaitGroup
}

// serve starts a registry, which ends with Close.
func serve(c *contents) (*registry, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "client suite"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		DNSNames:              c.hosts(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{
		contents:    c,
		address:     listener.Addr().String(),
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		tunnels:     tunnels{conns: make(chan net.Conn), closed: make(chan struct{})},
	}
	r.proxy = &http.Server{Handler: http.HandlerFunc(r.connect)}
	r.behind = &http.Server{Handler: http.HandlerFunc(r.answer)}
	secret := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	r.ended.Go(func() { _ = r.proxy.Serve(listener) })
	r.ended.Go(func() {
		_ = r.behind.Serve(tls.NewListener(&r.tunnels, &tls.Config{Certificates: []tls.Certificate{secret}}))
	})
	return r, nil
}

// environment is what makes Go programs use the registry.
func (r *registry) environment(certificateFile string) []string {
	return []string{
		"HTTPS_PROXY=http://" + r.address, "https_proxy=http://" + r.address,
		"NO_PROXY=", "no_proxy=",
		"SSL_CERT_FILE=" + certificateFile, "SSL_CERT_DIR=/nonexistent",
	}
}

// connect is the proxy: whatever host is asked for is the server behind it.
func (r *registry) connect(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
		conn.Close()
		return
	}
	r.tunnels.pass(&bufferedConn{conn, buffered.Reader})
}

// Close ends the registry and waits for its end.
func (r *registry) Close() error {
	err := errors.Join(r.proxy.Close(), r.behind.Close())
	r.ended.Wait()
	return err
}

// bufferedConn reads first what a hijacked connection had read ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// tunnels is a listener whose connections come from the proxy.
type tunnels struct {
	conns   chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

// pass hands a connection to whoever accepts, or closes it when nobody will.
func (t *tunnels) pass(c net.Conn) {
	select {
	case t.conns <- c:
	case <-t.closed:
		c.Close()
	}
}

// Accept is part of net.Listener.
func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

// Addr is part of net.Listener.
func (t *tunnels) Addr() net.Addr { return &net.TCPAddr{} }

// Close is part of net.Listener.
func (t *tunnels) Close() error {
	t.closing.Do(func() { close(t.closed) })
	return nil
}

// answer is the pull part of the distribution specification, version 1.1.
func (r *registry) answer(w http.ResponseWriter, req *http.Request) {
	path, ok := strings.CutPrefix(req.URL.Path, "/v2/")
	if !ok || req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.NotFound(w, req)
		return
	}
	if path == "" {
		return
	}
	repository := req.Host + "/"
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		if name, reference, ok := strings.Cut(path, kind); ok {
			b, ok := r.contents.find(repository+name, reference)
			if !ok {
				break
			}
			w.Header().Set("Content-Type", b.mediaType)
			w.Header().Set("Docker-Content-Digest", b.digest)
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(b.bytes))
			return
		}
	}
	http.NotFound(w, req)
}
