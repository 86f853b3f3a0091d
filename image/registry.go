package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/wasmshim/containerd-shim-wasm/internal/version"
)

// Registry says how to talk to registries. Credentials are those of "docker
// login", in the directory that DOCKER_CONFIG names, or of "podman login".
type Registry struct {
	// PlainHTTP talks to the registry without TLS. Only registries on this
	// machine are talked to so without being asked for.
	PlainHTTP bool
	// Insecure accepts any certificate.
	Insecure bool
	// CAFile is a PEM file of certificates to trust beside those of the system.
	CAFile string
}

// options returns how go-containerregistry is to talk.
func (r Registry) options(ctx context.Context) ([]remote.Option, error) {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: r.Insecure} //nolint:gosec // The user asks for it.
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, err
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM; name the file of your registry's certificate authority", r.CAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(tlsOnly{t, r.PlainHTTP}),
		remote.WithUserAgent("wasmctl/" + version.Version),
	}, nil
}

// reference converts a name that is complete.
func (r Registry) reference(full string) (name.Reference, error) {
	opts := []name.Option{name.StrictValidation}
	if r.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	return name.ParseReference(full, opts...)
}

// tlsOnly refuses requests without TLS. go-containerregistry falls back to them
// for every private address, and would send passwords over networks so.
type tlsOnly struct {
	http.RoundTripper
	plain bool
}

// RoundTrip implements http.RoundTripper.
func (t tlsOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !t.plain && !isLoopback(req.URL.Hostname()) {
		return nil, fmt.Errorf("%s is not asked without TLS; use --plain-http if it has none", req.URL.Host)
	}
	return t.RoundTripper.RoundTrip(req)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// explain makes one sentence of what a registry says.
func explain(ctx context.Context, action, full string, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	host, _, _ := strings.Cut(full, "/")
	if e, ok := errors.AsType[*transport.Error](err); ok {
		switch e.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("%s %s: %w; log in with docker login %s, as somebody who may do that", action, full, err, host)
		case http.StatusNotFound:
			return fmt.Errorf("%s %s: %w; correct the name", action, full, err)
		}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%s %s: %w; name the registry's certificate authority with --ca-file", action, full, err)
	}
	return fmt.Errorf("%s %s: %w", action, full, err)
}
