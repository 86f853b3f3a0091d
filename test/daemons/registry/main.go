// Command registry is the registry of the CNCF project distribution, with what the
// tests need of it: files or memory as storage, and basic auth. The project's own
// command links the clients of every cloud.
//
//	registry serve CONFIG
package main

import (
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

func main() {
	// It ends the process on failure.
	_ = registry.RootCmd.Execute()
}
