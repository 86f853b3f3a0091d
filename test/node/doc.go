// Package node holds the tests of the node installer on machines that are
// directories: with the files of the distributions' layouts, a real containerd that
// runs in them, and a restart that is one.
package node
