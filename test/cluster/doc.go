// Package cluster brings up a Kubernetes of one node, in a machine made of
// namespaces, from the programs that test/provision builds: etcd, the control
// plane, containerd with the project's shim, kubelet, kube-proxy, CoreDNS and
// metrics-server. Its tests are what a cluster's owner and a developer with
// kubectl are promised, one promise each.
//
// What it does not show, and why:
//   - scores of the OOM killer below 0: not every machine has CAP_SYS_RESOURCE, so
//     containerd and kubelet are told to leave them;
//   - cgroups through systemd: there is none in the node;
//   - AppArmor and SELinux: the kernel of a test machine may have neither;
//   - several machines, and networks with policies: a second node, on which the chart
//     is installed, shares the first one's;
//   - Dapr's control plane and its components but for state and messages in memory.
//
// It is a Go module of its own because of Kubernetes' client libraries.
package cluster
