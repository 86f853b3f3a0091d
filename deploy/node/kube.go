package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// serviceAccount is where a Pod finds what it needs to call the API server.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// Cluster is the part of the Kubernetes API that the installer needs: three calls
// about Nodes. client-go would bring 5 MB and thirty modules for them.
type Cluster struct {
	base  string
	token string // the file, which kubelet renews
	http  *http.Client
}

// InCluster returns the API server of the Pod that this process runs in.
func InCluster() (*Cluster, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, fmt.Errorf("this is no Pod: KUBERNETES_SERVICE_HOST is not set; leave out --node-name outside a cluster")
	}
	ca, err := os.ReadFile(serviceAccount + "ca.crt")
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the API server: %w", err)
	}
	return newCluster("https://"+net.JoinHostPort(host, port), ca, serviceAccount+"token")
}

func newCluster(base string, ca []byte, token string) (*Cluster, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("the API server's ca.crt holds no certificate")
	}
	return &Cluster{base: base, token: token, http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}}, nil
}

// apiNode is what the installer reads of a Node.
type apiNode struct {
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

// node returns one Node.
func (c *Cluster) node(ctx context.Context, name string) (n apiNode, _ error) {
	return n, c.call(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(name), nil, &n)
}

// nodes returns those that a label selector selects.
func (c *Cluster) nodes(ctx context.Context, selector string) ([]apiNode, error) {
	var list struct {
		Items []apiNode `json:"items"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/nodes?labelSelector="+url.QueryEscape(selector), nil, &list)
	return list.Items, err
}

// mark sets labels and annotations of a Node, and removes those that are nil. All
// others stay.
func (c *Cluster) mark(ctx context.Context, name string, labels, annotations map[string]any) error {
	return c.call(ctx, http.MethodPatch, "/api/v1/nodes/"+url.PathEscape(name), mergePatch(labels, annotations), nil)
}

// mergePatch is of RFC 7396, by which a map that is null would remove every label.
func mergePatch(labels, annotations map[string]any) any {
	metadata := map[string]any{}
	for key, m := range map[string]map[string]any{"labels": labels, "annotations": annotations} {
		if len(m) > 0 {
			metadata[key] = m
		}
	}
	return map[string]any{"metadata": metadata}
}

// maxAnswer bounds the API server's answer: a list of 5,000 Nodes is below it.
const maxAnswer = 128 << 20

func (c *Cluster) call(ctx context.Context, method, path string, body, answer any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(c.token)
	if err != nil {
		return fmt.Errorf("read the Pod's token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call the API server: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the API server's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(b, &status)
		return fmt.Errorf("%s %s: the API server says %s: %s", method, path, resp.Status, status.Message)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(b, answer)
}
