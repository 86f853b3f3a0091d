package cluster

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

//go:embed manifests
var manifests embed.FS

// Create makes the objects of a YAML text. Those that live in a namespace and name
// none get the one given. A field that the API does not know is an error.
func (c *Cluster) Create(ctx context.Context, namespace, text string) error {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Client.Discovery()))
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var o unstructured.Unstructured
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w in\n%s", err, text)
		}
		if len(o.Object) == 0 {
			continue
		}
		kind := o.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		resource := dynamic.ResourceInterface(c.Dynamic.Resource(mapping.Resource))
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			if o.GetNamespace() == "" {
				o.SetNamespace(namespace)
			}
			resource = c.Dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
		}
		if _, err := resource.Create(ctx, &o, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
			return fmt.Errorf("create %s %s: %w", kind.Kind, o.GetName(), err)
		}
	}
}

// startAddons runs what a cluster has beside its control plane, and the
// RuntimeClass as users have it.
func (c *Cluster) startAddons(ctx context.Context) error {
	entries, err := manifests.ReadDir("manifests")
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := manifests.ReadFile("manifests/" + e.Name())
		if err == nil {
			err = c.Create(ctx, "", string(b))
		}
		if err != nil {
			return err
		}
	}
	b, err := os.ReadFile(c.programs.RuntimeClass)
	if err == nil {
		err = c.Create(ctx, "", string(b))
	}
	if err != nil {
		return err
	}
	// metrics-server is ready when it has asked kubelet twice. Who needs it waits.
	return c.until(ctx, "CoreDNS", func(ctx context.Context) error {
		d, err := c.Client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err == nil && !isAvailable(d) {
			err = fmt.Errorf("%+v", d.Status)
		}
		return err
	})
}

func isAvailable(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration == d.Generation && d.Spec.Replicas != nil && d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas
}
