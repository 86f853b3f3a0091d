package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// drainTime is what all Pods together may take to go away.
const drainTime = 2 * time.Minute

// Drain deletes the cluster's namespaces and Pods, and fails if anything of a Pod
// stays on the node: a process, a mount, a network or a cgroup.
func (c *Cluster) Drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	namespaces, err := c.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range namespaces.Items {
		// Controllers would make their Pods anew. Static Pods there are none.
		err := errors.Join(
			c.Client.AppsV1().Deployments(n.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
			c.Client.AppsV1().StatefulSets(n.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
			c.Client.AppsV1().DaemonSets(n.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
			c.Client.CoreV1().Pods(n.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
		if err != nil {
			return err
		}
	}
	return c.until(ctx, "the Pods to leave nothing", func(ctx context.Context) error {
		pods, err := c.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			return fmt.Errorf("%d Pods, %s/%s among them", len(pods.Items), p.Namespace, p.Name)
		}
		left, err := leftovers()
		if err == nil && len(left) > 0 {
			err = errors.New(strings.Join(left, "\n"))
		}
		return err
	})
}

// leftovers are what Pods occupy on the node.
func leftovers() (left []string, _ error) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, file := range comms {
		b, _ := os.ReadFile(file)
		switch name := strings.TrimSpace(string(b)); {
		case strings.HasPrefix(name, "containerd-shim"), strings.HasPrefix(name, "wasm-runner"), strings.HasPrefix(name, "runc"):
			left = append(left, "process "+filepath.Base(filepath.Dir(file))+" "+name)
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		at := strings.Fields(line)[4]
		if strings.HasPrefix(at, "/run/containerd/io.containerd") || strings.HasPrefix(at, "/run/netns/") || strings.HasPrefix(at, "/var/lib/kubelet/pods/") {
			left = append(left, "mount "+at)
		}
	}
	for _, pattern := range []string{
		"/sys/fs/cgroup/kubepods/pod*", "/sys/fs/cgroup/*/kubepods/pod*",
		"/sys/fs/cgroup/kubepods/*/pod*", "/sys/fs/cgroup/*/kubepods/*/pod*",
		"/run/containerd/s/*", "/run/netns/*", "/sys/class/net/veth*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		left = append(left, found...)
	}
	return left, nil
}
