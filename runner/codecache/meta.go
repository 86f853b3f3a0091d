package codecache

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// MaxSize is how many bytes of code an entry may have.
const MaxSize = 2 << 30

// Bounds of an entry. A module makes one file, four to five times its size.
const (
	maxFiles = 16
	maxSize  = MaxSize // of all files together
	maxMeta  = 64 << 10
)

// metaVersion is raised when the layout of an entry changes; an entry of another
// version is a miss.
const metaVersion = 1

// meta is meta.json.
type meta struct {
	Version int       `json:"version"`
	Module  string    `json:"module"` // hexadecimal SHA-256
	Engine  string    `json:"engine"`
	Build   string    `json:"build"`
	CPU     string    `json:"cpu"`
	Created time.Time `json:"created"`
	// Dir is the engine's directory in code; Files are the files in it, sorted.
	Dir   string     `json:"dir"`
	Files []metaFile `json:"files"`
}

type metaFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	CRC32C uint32 `json:"crc32c"` // Castagnoli, for which CPUs have instructions
}

// Names that wazero gives: a directory per version and platform, and files named
// by a hash. Its temporary files match neither. Entries that hold a module itself
// have a directory and a file of such names, too. No regular expressions: to
// compile these would take a third of a millisecond at every start of the shim.

func isDirName(s string) bool {
	version, ok := strings.CutPrefix(s, "wazero-")
	return s == moduleDir || ok && len(version) <= 128 && consistsOf(version, func(r byte) bool {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.IndexByte(".+_()-", r) >= 0
	})
}

// isHash tells the name of a file, and that of an entry: what Key.String returns.
func isHash(s string) bool {
	return len(s) == 64 && consistsOf(s, func(r byte) bool { return '0' <= r && r <= '9' || 'a' <= r && r <= 'f' })
}

// consistsOf is false for an empty string.
func consistsOf(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return s != ""
}

// metaOf describes the files of a key.
func metaOf(k Key, dir string, files []metaFile, created time.Time) meta {
	return meta{
		Version: metaVersion, Module: hex.EncodeToString(k.Module[:]), Engine: k.Engine, Build: k.Build, CPU: k.CPU,
		Created: created.UTC(), Dir: dir, Files: files,
	}
}

// key is what m says that the code is of.
func (m *meta) key() Key {
	k := Key{Engine: m.Engine, Build: m.Build, CPU: m.CPU}
	_, _ = hex.Decode(k.Module[:], []byte(m.Module)) // another key, if it is none
	return k
}

// is reports whether m describes code of the key.
func (m *meta) is(k Key) bool {
	return m.Module == hex.EncodeToString(k.Module[:]) && m.Engine == k.Engine && m.Build == k.Build && m.CPU == k.CPU
}

// parseMeta reads meta.json and accepts only what Commit writes.
func parseMeta(b []byte) (*meta, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var m meta
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("trailing data")
	}
	switch {
	case m.Version != metaVersion:
		return nil, fmt.Errorf("version %d", m.Version)
	case !isDirName(m.Dir):
		return nil, fmt.Errorf("directory %q", m.Dir)
	case len(m.Files) == 0 || len(m.Files) > maxFiles:
		return nil, fmt.Errorf("%d files", len(m.Files))
	}
	var total int64
	for i, f := range m.Files {
		switch {
		case !isHash(f.Name):
			return nil, fmt.Errorf("file %q", f.Name)
		case i > 0 && m.Files[i-1].Name >= f.Name:
			return nil, fmt.Errorf("file %q out of order", f.Name)
		case f.Size < 1 || f.Size > maxSize-total:
			return nil, fmt.Errorf("file %q of %d bytes", f.Name, f.Size)
		}
		total += f.Size
	}
	return &m, nil
}
