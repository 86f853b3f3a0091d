// Package resolver looks host names up as a container's C library would, for
// guests that have none: numbers, /etc/hosts, then the name servers of
// /etc/resolv.conf with its search list and ndots, over UDP and for long answers
// over TCP. There is no nsswitch.conf, no mDNS and no cache.
//
// It reads the files and opens the sockets of the process that it runs in, so
// that a guest sees what its Pod sees. The whole of net would do the same, with
// more goroutines and memory than a guest has otherwise.
package resolver
