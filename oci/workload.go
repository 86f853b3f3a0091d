package oci

import "github.com/wasmshim/containerd-shim-wasm/internal/control"

// Workload describes one guest: the shim fills it from the spec, the runner
// reads it. It crosses the process boundary as JSON.
type Workload struct {
	// Module is the path of the guest's binary as the user named it, for
	// messages only. The runner gets the file itself as a descriptor.
	Module string `json:"module"`
	// Export is the function to call; empty means the command entry point
	// _start.
	Export string `json:"export,omitempty"`
	// Args is the guest's argv, args[0] included.
	Args []string `json:"args"`
	// Env is the guest's environment as KEY=VALUE, in the spec's order.
	Env []string `json:"env,omitempty"`
	// Cwd is the guest's working directory, absolute in its own root.
	Cwd string `json:"cwd"`
	// Preopens are the directories that the guest may use.
	Preopens []Preopen `json:"preopens"`
	// Listeners are addresses with ports, such as 0.0.0.0:8080, of TCP listeners
	// that the guest finds open, for guests that cannot open their own (plain
	// WASI preview 1). They get the descriptors after the preopens.
	Listeners []string `json:"listeners,omitempty"`
	// Outbound are the destinations that the guest may reach, such as
	// db.example:5432 or 10.0.0.0/8; nil is every one, and an empty list none.
	Outbound []string `json:"outbound"`
	// DNSServer asks for the variable DNS_SERVER with the container's first name
	// server of an IPv4 address, unless Env has it: guests of some versions of
	// WasmEdge's crate ask that server, and no other.
	DNSServer bool `json:"dnsServer,omitempty"`
	// Signals asks for a stream from which the guest reads the names of the
	// signals that would end it, one a line, in place of being ended.
	Signals bool `json:"signals,omitempty"`
	// TerminationLog is a file in the container that gets the reason of a trap,
	// as standard error does; empty is none.
	TerminationLog string `json:"terminationLog,omitempty"`
	// MemoryLimit caps the guest's linear memory, in bytes, and MaxFiles its open
	// descriptors; 0 leaves either to the runner.
	MemoryLimit uint64 `json:"memoryLimit,omitempty"`
	MaxFiles    int    `json:"maxFiles,omitempty"`
	// Limits are those of a compilation in the guest's own process, where it
	// gets no compiled code.
	Limits control.CompileLimits `json:"limits,omitzero"`
}

// Preopen maps a directory of the process that runs the guest to a path that
// the guest sees.
type Preopen struct {
	// Host is the path in the mount namespace and root of the runner.
	Host string `json:"host"`
	// Guest is the path by which the guest knows it.
	Guest string `json:"guest"`
	// ReadOnly refuses every change below it.
	ReadOnly bool `json:"readOnly,omitempty"`
}

// String is the preopen as ParsePreopens reads it.
func (p Preopen) String() string {
	if p.ReadOnly {
		return p.Host + ":ro"
	}
	return p.Host + ":rw"
}
