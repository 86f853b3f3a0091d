package oci

import "strings"

// Annotations by which an image or a Pod says that it holds Wasm.
const (
	handlerAnnotation       = "run.oci.handler"
	variantAnnotation       = "module.wasm.image/variant"
	containerTypeAnnotation = "io.kubernetes.cri.container-type"
)

// marker is an annotation that says that a container is Wasm. A marked
// container is never run as native code, whatever its file turns out to be.
type marker struct {
	key, value string
}

// String is the annotation as a user writes it, or "" without one.
func (m marker) String() string {
	if m == (marker{}) {
		return ""
	}
	return m.key + "=" + m.value
}

// set reports whether there is a marker at all.
func (m marker) set() bool { return m != marker{} }

// markerOf returns the Wasm marker that holds for the process arg0 of a
// container with these annotations.
//
// The vocabulary is crun's and that of the compat image spec. "wasm" and
// "compat" mark the container. "wasm-smart" and "compat-smart" exist for Pods
// with sidecars, where CRI copies the Pod's annotations to every container:
// they mark only those whose args[0] names a .wasm file.
//
// The sandbox (pause) container of a Pod carries the Pod's annotations too and
// is never Wasm.
func markerOf(annotations map[string]string, arg0 string) marker {
	if IsSandbox(annotations) {
		return marker{}
	}
	path, _, _ := strings.Cut(arg0, "#")
	for _, m := range []struct {
		marker
		smart bool
	}{
		{marker{handlerAnnotation, "wasm"}, false},
		{marker{variantAnnotation, "compat"}, false},
		{marker{handlerAnnotation, "wasm-smart"}, true},
		{marker{variantAnnotation, "compat-smart"}, true},
	} {
		if annotations[m.key] == m.value && (!m.smart || strings.HasSuffix(path, ".wasm")) {
			return m.marker
		}
	}
	return marker{}
}

// IsSandbox tells the container that holds the namespaces of a Pod, which CRI
// marks after it has copied what the Pod says.
func IsSandbox(annotations map[string]string) bool {
	return annotations[containerTypeAnnotation] == "sandbox"
}
