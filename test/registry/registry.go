// Package registry runs a real registry for a test: the program of the CNCF
// project distribution on a port of loopback, with TLS of a certificate of its own
// and basic auth, and fills it with images of any form.
package registry

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// User and Password are of the only account.
const (
	User     = "user"
	Password = "password"
	// passwordHash is bcrypt's of the password, with the least cost.
	passwordHash = "$2a$04$k3vcUw6OhzHdOZ2JMUB./OosNeC1lmuEmcWRcOsOL3fGoiQRcSMla"
)

// Registry is one that runs.
type Registry struct {
	// Host is its name with the port.
	Host string

	ca    string // file
	roots *x509.CertPool
	cmd   *exec.Cmd
	log   <-chan struct{} // closed when all of it was read
}

// startTime is far beyond the second that it takes.
const startTime = time.Minute

// listening is what the program logs when it does.
var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// Start runs the program of provision.Store.Registry with its files in dir. Close
// ends it.
func Start(ctx context.Context, program, dir string) (*Registry, error) {
	r := &Registry{ca: filepath.Join(dir, "ca.pem")}
	key := filepath.Join(dir, "key.pem")
	if err := r.writeCertificate(key); err != nil {
		return nil, err
	}
	accounts, config := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "config.yml")
	if err := os.WriteFile(accounts, []byte(User+":"+passwordHash+"\n"), 0o600); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {inmemory: {}}
auth: {htpasswd: {realm: tests, path: %q}}
http:
  addr: 127.0.0.1:0
  secret: tests
  tls: {certificate: %q, key: %q}
`, accounts, r.ca, key)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	r.cmd = exec.Command(program, "serve", config)
	r.cmd.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	// It ends with the test, whatever becomes of that.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	hosts, done := make(chan string, 1), make(chan struct{})
	r.log = done
	var log []byte
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := listening.FindSubmatch(lines.Bytes()); m != nil {
				hosts <- string(m[1])
				break
			}
			log = append(append(log, lines.Bytes()...), '\n')
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	select {
	case r.Host = <-hosts:
		return r, nil
	case <-done:
		return nil, fmt.Errorf("the registry ended: %v\n%s", r.cmd.Wait(), log)
	case <-ctx.Done():
		return nil, fmt.Errorf("start the registry: %w", r.fail(ctx.Err()))
	case <-time.After(startTime):
		return nil, fmt.Errorf("the registry does not listen after %v", r.fail(fmt.Errorf("%v", startTime)))
	}
}

func (r *Registry) fail(err error) error {
	_ = r.Close()
	return err
}

// Close ends the registry and waits for its end.
func (r *Registry) Close() error {
	if err := r.cmd.Process.Kill(); err != nil {
		return err
	}
	<-r.log
	_ = r.cmd.Wait() // it was killed
	return nil
}

// CertificateFile is the PEM file of what clients must trust.
func (r *Registry) CertificateFile() string { return r.ca }

// WriteHosts writes what containerd reads below a directory of hosts (its
// registry.config_path, or ctr's --hosts-dir) to trust the registry.
func (r *Registry) WriteHosts(dir string) error {
	dir = filepath.Join(dir, r.Host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %[2]q\n", r.Host, r.ca)
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o644)
}

// writeCertificate makes the certificate that the registry shows and clients
// trust.
func (r *Registry) writeCertificate(keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "tests"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	r.roots = x509.NewCertPool()
	r.roots.AppendCertsFromPEM(certificate)
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(r.ca, certificate, 0o644)
}
