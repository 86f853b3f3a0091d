// Package cluster brings up a Kubernetes of one node, in a machine made of
// namespaces, from the programs that test/provision builds: etcd, the control
// plane, containerd with the project's shim, kubelet, kube-proxy, CoreDNS and
// metrics-server. Its tests are what a cluster's owner and a developer with
// kubectl are promised, one promise each.
//
// It is a Go module of its own because of Kubernetes' client libraries.
package cluster
