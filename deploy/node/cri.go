package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// runtimeState is what containerd says of itself to kubelet.
type runtimeState struct {
	// Runtimes are the handlers that it has read from its configuration.
	Runtimes map[string]struct {
		Type    string         `json:"runtimeType"`
		Path    string         `json:"runtimePath"`
		Options map[string]any `json:"options"`
	} `json:"runtimes"`
}

// onCRI calls a function with a client of containerd's service for kubelet.
func (s *session) onCRI(ctx context.Context, f func(context.Context, cri.RuntimeServiceClient) error) error {
	p, err := s.host.resolve(s.layout.Socket)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///unix://"+p, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return f(ctx, cri.NewRuntimeServiceClient(conn))
}

// state asks containerd; it fails while containerd is not ready.
func (s *session) state(ctx context.Context) (state runtimeState, _ error) {
	err := s.onCRI(ctx, func(ctx context.Context, c cri.RuntimeServiceClient) error {
		r, err := c.Status(ctx, &cri.StatusRequest{Verbose: true})
		if err != nil {
			return fmt.Errorf("containerd does not answer kubelet's calls on %s: %w; see its log", s.layout.Socket, err)
		}
		for _, condition := range r.Status.GetConditions() {
			if condition.Type == cri.RuntimeReady && !condition.Status {
				return fmt.Errorf("containerd is not ready: %s: %s", condition.Reason, condition.Message)
			}
		}
		var config struct {
			Containerd runtimeState `json:"containerd"`
		}
		if err := json.Unmarshal([]byte(r.Info["config"]), &config); err != nil {
			return fmt.Errorf("containerd's status has no configuration that can be read: %w", err)
		}
		state = config.Containerd
		return nil
	})
	return state, err
}

// await returns when containerd is ready in the state that ok accepts, or with what
// was wrong last when the patience is over.
func (s *session) await(ctx context.Context, ok func(runtimeState) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	for {
		state, err := s.state(ctx)
		if err == nil {
			err = ok(state)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd did not come up in %v: %w", s.Patience, err)
		case <-time.After(200 * time.Millisecond): // nothing announces readiness to others than systemd
		}
	}
}

// serves says whether containerd has read the handler's table as it should be.
func (s *session) serves(want tree) func(runtimeState) error {
	return func(state runtimeState) error {
		r, ok := state.Runtimes[s.Handler]
		if !ok {
			return fmt.Errorf("containerd has no handler %q, but %v; something else than %s decides its configuration",
				s.Handler, sortedKeys(state.Runtimes), s.layout.Config)
		}
		options, _ := want["options"].(tree)
		got := tree{}
		for k, v := range r.Options {
			got[k] = v
			if f, isFloat := v.(float64); isFloat { // as JSON has integers
				got[k] = int64(f)
			}
		}
		if r.Type != want["runtime_type"] || r.Path != want["runtime_path"] || difference("", got, options) != "" {
			return fmt.Errorf("containerd has not read the new table of handler %q: it has type %q, path %q, options %v", s.Handler, r.Type, r.Path, r.Options)
		}
		return nil
	}
}

// pods returns the names of the Pods on the node that the handler runs.
func (s *session) pods(ctx context.Context) (names []string, _ error) {
	err := s.onCRI(ctx, func(ctx context.Context, c cri.RuntimeServiceClient) error {
		r, err := c.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		if err != nil {
			return fmt.Errorf("list the Pods of the node: %w", err)
		}
		for _, p := range r.Items {
			if p.RuntimeHandler == s.Handler && p.State == cri.PodSandboxState_SANDBOX_READY {
				names = append(names, p.Metadata.GetNamespace()+"/"+p.Metadata.GetName())
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}
