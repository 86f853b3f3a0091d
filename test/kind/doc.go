// Package kind brings up a kind cluster of one node and, in its tests, installs the
// shim there as its users do: with kind, helm and kubectl, from the installer's
// image to `helm uninstall`.
//
// It uses the Docker of this machine where one answers, and else starts one of its
// own in a machine made of namespaces. The node's image is made by test/provision;
// in it is what kind's own has, with a real systemd, and no image registry is asked.
//
// What it does not show, and why:
//   - several nodes, and kind's own network and storage: their programs come in
//     images only;
//   - scores of the OOM killer below 0: not every machine has CAP_SYS_RESOURCE.
//
// It is a Go module of its own because that of test/cluster, which has the
// namespaces, is one.
package kind
