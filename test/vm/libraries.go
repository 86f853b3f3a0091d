package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// library is a file that the dynamic linker looks for by name.
type library struct{ name, path string }

// libraryDirs are where Debian has its libraries.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"}

// librariesOf lists the interpreter and the libraries that a program or a library
// names itself; a static program and a file of another kind have none.
func librariesOf(file string) ([]library, error) {
	f, err := elf.Open(file)
	if _, notELF := errors.AsType[*elf.FormatError](err); notELF || errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []library
	if s := f.Section(".interp"); s != nil {
		b, err := s.Data()
		if err != nil {
			return nil, err
		}
		path := string(bytes.TrimRight(b, "\x00"))
		all = append(all, library{path, path})
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", file, err)
	}
	for _, name := range names {
		path, err := findLibrary(name)
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", file, err)
		}
		all = append(all, library{filepath.Join(libraryDirs[0], name), path})
	}
	return all, nil
}

func findLibrary(name string) (string, error) {
	for _, dir := range libraryDirs {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is in none of %v: %w", name, libraryDirs, os.ErrNotExist)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
