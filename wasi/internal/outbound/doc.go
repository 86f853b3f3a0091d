// Package outbound decides to which addresses a guest may open connections and
// send datagrams: its rules name hosts, networks and ports.
//
// The host of an ABI asks before connect and sendto; what the container's
// network lets through is another matter and stays in force. Names are resolved
// by the container's own files as they were before its guest ran, because the
// guest may change them.
package outbound
