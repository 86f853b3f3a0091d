// Package helm holds the tests of the chart: that it lints, renders to what is
// expected, refuses wrong values, and that what it renders are objects of
// Kubernetes' own types.
//
// It is a Go module of its own because of helm, whose command it declares as a tool.
package helm
