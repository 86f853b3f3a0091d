// Package cgroup is one container's cgroup: it is made with the limits of a
// runtime-spec, joined, measured, killed and removed, on cgroup v1, on hybrid
// hosts and on v2.
//
// Whatever linux.resources asks for is applied or refused by name with a
// *control.Error; nothing is ignored. The files are written here, because the
// converters of containerd/cgroups drop or mangle several of them (quota without
// period, -1 for unlimited, swap, the device list, rdma beyond the first device);
// the metrics come from containerd/cgroups, because the kubelet's CRI plugin
// decodes its types. Only the shim imports this package: it pulls in protobuf.
package cgroup
