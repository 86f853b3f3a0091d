package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/log"
)

// What the agents on the nodes and the hook that uninstalls say to each other on the
// Node objects.
const (
	// ReadyLabel is "true" on a node whose containerd has the handler, which
	// RuntimeClasses select by, and "false" on one whose agent has not come so far.
	ReadyLabel = runtimeType + "/ready"
	// uninstallRequest asks a node's agent to uninstall; its value is "drained" or
	// "forced".
	uninstallRequest = runtimeType + "/uninstall"
	// uninstallRefusal is the agent's reason not to.
	uninstallRefusal = runtimeType + "/uninstall-refused"

	requestDrained, requestForced = "drained", "forced"
)

const (
	// pollNode is how often an agent looks at its Node: as often as kubelet renews
	// its lease.
	pollNode = 10 * time.Second
	// verifyEvery is how often it has containerd tell its handlers.
	verifyEvery = time.Minute
	// settleTime is how long an agent may take for what it has begun.
	settleTime = time.Minute
)

// Agent installs the shim on the node called name, labels it, and keeps both so
// until ctx ends or the cluster asks it to uninstall. It returns an error when the
// installation fails or is broken later: the next start repairs it. The file called
// ready, of this process and not the host, is there while all is well.
func Agent(ctx context.Context, c Config, cluster *Cluster, name, ready string) error {
	if err := os.Remove(ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n, err := cluster.node(ctx, name)
	if err != nil {
		return err
	}
	if n.Metadata.Labels[ReadyLabel] == "" {
		if err := cluster.mark(ctx, name, map[string]any{ReadyLabel: "false"}, nil); err != nil {
			return err
		}
	}
	gone := n.Metadata.Annotations[uninstallRequest] != ""
	if gone {
		// What is asked comes before what was begun.
		if gone, err = tend(ctx, c, cluster, name, false); err != nil {
			return err
		}
	}
	if !gone {
		r, err := Install(ctx, c)
		if err != nil {
			// A node whose installation is broken gets no Pods.
			if markErr := cluster.mark(context.WithoutCancel(ctx), name, map[string]any{ReadyLabel: "false"}, nil); markErr != nil {
				err = fmt.Errorf("%w; and its label stays: %w", err, markErr)
			}
			return err
		}
		log.G(ctx).WithField("changed", r.Changed).Infof("node %s has %s by %s", name, r.Version, r.Path)
	}
	verified := time.Now()
	for {
		if gone, err = tend(ctx, c, cluster, name, gone); err != nil {
			log.G(ctx).WithError(err).Warn("the Node object is not as it should be")
		} else if err := os.WriteFile(ready, nil, 0o600); err != nil {
			return err
		}
		if !gone && time.Since(verified) >= verifyEvery {
			if _, err := Verify(ctx, c); err != nil {
				return err
			}
			verified = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollNode):
		}
	}
}

// tend does what the Node object asks for and labels it. gone says whether the shim
// was uninstalled by it.
func tend(ctx context.Context, c Config, cluster *Cluster, name string, gone bool) (bool, error) {
	n, err := cluster.node(ctx, name)
	if err != nil {
		return gone, err
	}
	request := n.Metadata.Annotations[uninstallRequest]
	switch {
	case request != "" && gone:
		return gone, cluster.mark(ctx, name, map[string]any{ReadyLabel: nil}, map[string]any{uninstallRequest: nil, uninstallRefusal: nil})
	case request != "" && n.Metadata.Annotations[uninstallRefusal] == "":
		// Without the label no further Pod comes while those that run are counted.
		was := n.Metadata.Labels[ReadyLabel]
		if err := cluster.mark(ctx, name, map[string]any{ReadyLabel: "false"}, nil); err != nil {
			return gone, err
		}
		if _, err := Uninstall(ctx, c, request == requestForced); err != nil {
			log.G(ctx).WithError(err).Error("the shim stays")
			return gone, cluster.mark(ctx, name, map[string]any{ReadyLabel: was}, map[string]any{uninstallRefusal: err.Error()})
		}
		log.G(ctx).Infof("node %s does not have the shim any more", name)
		return true, cluster.mark(ctx, name, map[string]any{ReadyLabel: nil}, map[string]any{uninstallRequest: nil, uninstallRefusal: nil})
	case request == "" && !gone && n.Metadata.Labels[ReadyLabel] != "true":
		return gone, cluster.mark(ctx, name, map[string]any{ReadyLabel: "true"}, nil)
	}
	return gone, nil
}

// UninstallAll asks the agents of all nodes to uninstall and returns when they have.
// If one refuses, all requests that were not served are withdrawn, and the error
// names the nodes with their reasons. A node that does not answer within the
// patience is an error, too.
func UninstallAll(ctx context.Context, cluster *Cluster, force bool, patience time.Duration) error {
	nodes, err := cluster.nodes(ctx, ReadyLabel)
	if err != nil {
		return err
	}
	request := requestDrained
	if force {
		request = requestForced
	}
	waiting := map[string]string{} // and the label of each before
	defer func() {
		withdraw(context.WithoutCancel(ctx), cluster, waiting)
		settle(ctx, cluster, waiting)
	}()
	for _, n := range nodes {
		name := n.Metadata.Name
		waiting[name] = n.Metadata.Labels[ReadyLabel]
		if err := cluster.mark(ctx, name, nil, map[string]any{uninstallRequest: request, uninstallRefusal: nil}); err != nil {
			return err
		}
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var refusal error
	for len(waiting) > 0 && refusal == nil && patient.Err() == nil {
		for _, name := range sortedKeys(waiting) {
			n, err := cluster.node(patient, name)
			switch {
			case err != nil:
				log.G(ctx).WithError(err).Warnf("node %s", name)
			case n.Metadata.Annotations[uninstallRequest] == "":
				log.G(ctx).Infof("node %s is done", name)
				delete(waiting, name)
			case n.Metadata.Annotations[uninstallRefusal] != "":
				refusal = fmt.Errorf("node %s: %s", name, n.Metadata.Annotations[uninstallRefusal])
			}
		}
		select {
		case <-patient.Done():
		case <-time.After(time.Second):
		}
	}
	if refusal != nil {
		return refusal
	}
	if len(waiting) == 0 {
		return nil
	}
	return fmt.Errorf("nodes %v did not answer in %v; see the logs of their installer Pods", sortedKeys(waiting), patience)
}

// withdraw takes requests back that were not served.
func withdraw(ctx context.Context, cluster *Cluster, nodes map[string]string) {
	for name := range nodes {
		if err := cluster.mark(ctx, name, nil, map[string]any{uninstallRequest: nil, uninstallRefusal: nil}); err != nil {
			log.G(ctx).WithError(err).Warnf("node %s still has the request to uninstall", name)
		}
	}
}

// settle waits for agents that began before the request was withdrawn, and takes back
// what they answer. They restart containerd, which loses the last words, and at times
// the exit code, of a container that ends meanwhile, as the caller's is about to.
func settle(ctx context.Context, cluster *Cluster, nodes map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for name, before := range nodes {
		begun := false
		for before != "false" && ctx.Err() == nil {
			n, err := cluster.node(ctx, name)
			if err != nil {
				log.G(ctx).WithError(err).Warnf("node %s is not waited for", name)
				break
			}
			if n.Metadata.Labels[ReadyLabel] != "false" {
				break
			}
			begun = true
			log.G(ctx).Infof("node %s had begun; waiting for its end", name)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		if begun {
			withdraw(context.WithoutCancel(ctx), cluster, map[string]string{name: before})
		}
	}
}
