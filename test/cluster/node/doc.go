// Package node makes a throw-away machine out of namespaces and runs the current
// program inside it again: mounts, network, processes, host name, IPC and cgroups of
// its own, on the kernel and the programs of the machine around it. What
// kubelet, containerd and kube-proxy do to a machine, they do to this one.
//
// It ends with the program. Nothing of it can stay but a directory and empty
// cgroups, which the place that owns it removes.
package node
