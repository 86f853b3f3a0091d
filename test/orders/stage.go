package orders

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// Addresses of the two namespaces, and of what listens in the outside one. The
// service finds the latter by names in its /etc/hosts.
const (
	ServiceIP     = "10.61.0.2"
	OutsideIP     = "10.61.0.3"
	shippingPort  = 8081
	securePort    = 8443
	expiredPort   = 8444
	databaseHost  = "db.shop.test"
	shippingHost  = "shipping.shop.test"
	otherNameHost = "other.shop.test" // the certificate is for shippingHost
)

// Stage is what is there before a service: the namespaces, MariaDB, the shipping
// service, and a containerd.
type Stage struct {
	Daemon   *daemon.Daemon
	Database *Database
	// Inside is the namespace of services, Outside that of everything else.
	Inside, Outside *Namespace
	// Trusted signed the shipping service's certificate.
	Trusted *Authority

	store *provision.Store
	bin   string
	undo  []func() error
}

// Open makes a stage with the project's programs in bin. What takes long is in
// the cache of store.
func Open(ctx context.Context, store *provision.Store, bin string) (_ *Stage, err error) {
	s := &Stage{store: store, bin: bin}
	defer func() {
		if err != nil {
			_, closeErr := s.Close()
			err = errors.Join(err, closeErr)
		}
	}()
	containerd, err := store.Containerd(ctx, "2.4")
	if err != nil {
		return nil, err
	}
	runc, err := store.Runc(ctx)
	if err != nil {
		return nil, err
	}
	mariadb, err := store.MariaDB(ctx)
	if err != nil {
		return nil, err
	}
	if err := store.IPRoute(ctx); err != nil {
		return nil, err
	}
	// The daemon first: its directory holds all the files.
	s.Daemon, err = daemon.Start(ctx, "2.4", daemon.Programs{Containerd: containerd, Runc: runc, Shim: bin})
	if err != nil {
		return nil, err
	}
	for _, n := range []**Namespace{&s.Inside, &s.Outside} {
		if *n, err = newNamespace(ctx); err != nil {
			return nil, err
		}
		s.onClose(func() error { (*n).Close(); return nil })
	}
	if err := connect(ctx, s.Inside, ServiceIP+"/24", s.Outside, OutsideIP+"/24"); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.Daemon.Dir, "mariadb")
	if err := os.Chmod(s.Daemon.Dir, 0o711); err != nil { // for the server's user
		return nil, err
	}
	if s.Database, err = newDatabase(ctx, s.Outside, mariadb, dir); err != nil {
		return nil, err
	}
	s.onClose(func() error { return s.Database.Stop(syscall.SIGTERM) })
	if err := s.Database.Start(ctx); err != nil {
		return nil, err
	}
	return s, s.openShipping()
}

// openShipping starts the shipping service three times: with HTTP, with HTTPS,
// and with a certificate whose time is over.
func (s *Stage) openShipping() (err error) {
	if s.Trusted, err = NewAuthority("the shop's authority"); err != nil {
		return err
	}
	good, err := s.Trusted.certify(shippingHost, time.Now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	expired, err := s.Trusted.certify(shippingHost, time.Now().Add(-time.Minute))
	if err != nil {
		return err
	}
	var servers []*http.Server
	s.onClose(func() (err error) {
		for _, server := range servers {
			err = errors.Join(err, server.Close())
		}
		return err
	})
	for _, l := range []struct {
		port int
		cert *tls.Certificate
	}{{shippingPort, nil}, {securePort, &good}, {expiredPort, &expired}} {
		server, err := newShipping(s.Outside, fmt.Sprintf("%s:%d", OutsideIP, l.port), l.cert)
		if err != nil {
			return err
		}
		servers = append(servers, server)
	}
	return nil
}

func (s *Stage) onClose(undo func() error) { s.undo = append(s.undo, undo) }

// Close ends everything, latest first. It returns what the containers left; see
// daemon.Daemon.Stop.
func (s *Stage) Close() (left []string, err error) {
	// The daemon, which was first, is last: its directory holds MariaDB's files.
	for i := len(s.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, s.undo[i]())
	}
	s.undo = nil
	if s.Daemon == nil {
		return nil, err
	}
	left, stopErr := s.Daemon.Stop(context.Background())
	return left, errors.Join(err, stopErr)
}
