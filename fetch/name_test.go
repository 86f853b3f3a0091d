package fetch

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

func TestFamiliarNamesAreWhatTheLibrarySays(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for _, name := range []string{
		"app", "app:1", "acme/app", "acme/app:1", "acme/team/app", "docker.io/app", "docker.io/acme/app:1", "index.docker.io/app",
		"ghcr.io/acme/app", "ghcr.io/acme/app:v1.2", "localhost/app:1", "localhost:5000/app", "127.0.0.1:5000/app:1", "[::1]:5000/app:1",
		"app" + digest, "app:1" + digest, "ghcr.io/acme/app:v1" + digest, "Registry/app:1",
	} {
		ref, err := reference.ParseDockerRef(name)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := familiar(name); got != ref.String() {
			t.Errorf("%s: got %s, want %s", name, got, ref)
		}
	}
}
