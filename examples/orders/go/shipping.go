package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// shipping calls the shipping service.
type shipping struct {
	client *http.Client
	urls   map[string]string // by way
}

// newShipping believes the certificate authorities of the file that TRUST_ANCHORS
// names, and no others.
func newShipping() (*shipping, error) {
	anchors := x509.NewCertPool()
	if file := os.Getenv("TRUST_ANCHORS"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("TRUST_ANCHORS: %w", err)
		}
		if !anchors.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("TRUST_ANCHORS: %s has no certificate", file)
		}
	}
	return &shipping{
		client: &http.Client{Transport: &http.Transport{
			DialContext:     dial,
			TLSClientConfig: &tls.Config{RootCAs: anchors},
		}},
		urls: map[string]string{
			"plain":  os.Getenv("SHIPPING_URL"),
			"secure": os.Getenv("SECURE_SHIPPING_URL"),
		},
	}, nil
}

// rates returns what the shipping service answers, which is JSON.
func (s *shipping) rates(ctx context.Context, way string) ([]byte, error) {
	url, ok := s.urls[way]
	if !ok {
		return nil, errNotFound
	}
	if url == "" {
		return nil, shippingError{errors.New("its URL is not set")}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, shippingError{err}
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return nil, shippingError{err}
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, shippingError{errors.New(answer.Status)}
	}
	rates, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, shippingError{err}
	}
	return rates, nil
}
