package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// clientSuiteModule is where containerd, and with it the suite, is pinned.
const clientSuiteModule = "test/daemons/containerd-2.4"

// imageListPatch lets the suite read its list of images from the environment:
// its own flag is parsed after the names were taken.
var imageListPatch = struct{ file, old, new string }{
	file: "integration/images/image_list.go",
	old:  `flag.String("image-list", "",`,
	new:  `flag.String("image-list", os.Getenv("IMAGE_LIST"),`,
}

// ClientSuite returns the directory of containerd's client suite, built of the
// module that is pinned for containerd 2.4: client.test, the testdata beside
// it, and bin with the runc-fp that some of its tests name. What else these
// tests look for on the machine is installed.
func (s *Store) ClientSuite(ctx context.Context) (string, error) {
	// ps and lsof look at processes, mkfs.xfs makes a file system to mount.
	if err := s.install(ctx, "procps", "lsof", "xfsprogs"); err != nil {
		return "", err
	}
	// Without a version, it is that of the go.mod.
	out, err := command{
		dir:  filepath.Join(s.Checkout, clientSuiteModule),
		args: []string{"go", "mod", "download", "-json", "github.com/containerd/containerd/v2"},
	}.run(ctx)
	if err != nil {
		return "", err
	}
	var module struct{ Version, Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return "", err
	}
	compiler, err := command{args: []string{"go", "env", "GOVERSION"}}.run(ctx)
	if err != nil {
		return "", err
	}
	p := imageListPatch
	key, err := s.digest([]string{compiler, p.file, p.old, p.new})
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("client-suite-%s-%s-%s", strings.TrimPrefix(module.Version, "v"), runtime.GOARCH, key)
	return s.entry(ctx, name, func(ctx context.Context, dir string) error {
		return buildClientSuite(ctx, module.Dir, dir)
	})
}

// buildClientSuite builds in a copy of the module, as containerd itself builds
// the suite: with the module's own requirements.
func buildClientSuite(ctx context.Context, source, dir string) error {
	checkout := filepath.Join(dir, "source")
	if err := os.CopyFS(checkout, os.DirFS(source)); err != nil {
		return err
	}
	defer os.RemoveAll(checkout)
	p := imageListPatch
	file := filepath.Join(checkout, p.file)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.Count(string(b), p.old) != 1 {
		return fmt.Errorf("%s does not have %q once: this containerd's suite takes its images in another way", p.file, p.old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), p.old, p.new, 1)), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"go", "test", "-c", "-o", filepath.Join(dir, "client.test"), "./integration/client"},
		{"go", "build", "-o", filepath.Join(dir, "bin", "runc-fp"), "./integration/failpoint/cmd/runc-fp"},
	} {
		if _, err := (command{dir: checkout, args: args}).run(ctx); err != nil {
			return err
		}
	}
	return os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(filepath.Join(checkout, "integration/client/testdata")))
}
