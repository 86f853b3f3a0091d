// Package orders puts examples/orders on a stage: the service as a container of
// a private containerd in a network namespace, and in a second namespace what it
// talks to, a MariaDB and a shipping service behind HTTP and HTTPS.
//
// Its tests do to the service what clients, databases and networks do. The
// command test/cmd/orders lets a person look at it. Nothing of a stage outlives
// its process: namespaces and MariaDB end with it, and what containerd leaves is
// swept as that of other tests.
package orders
