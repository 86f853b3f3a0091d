package runner

import (
	"context"
	"encoding/binary"
	"os"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

// skeleton returns what the engine sees of a binary whose compiled code it loads: it
// has all that prepare leaves but the bodies of functions, each of which traps. The
// engine decodes and validates whatever it is given, and takes longer for that than
// for loading the code. The binary was validated when it was compiled.
//
// A binary whose traps name lines has none: their addresses are those of bodies.
func skeleton(b []byte, info *binaryInfo) []byte {
	if info.lines() {
		return b
	}
	bones := append([]byte(nil), b[:len(coreHeader)]...)
	for r := (&reader{b: b[len(coreHeader):]}); !r.empty(); {
		from := len(b) - len(r.b)
		id := r.byte()
		s := &reader{b: r.bytes(r.u32())}
		if id != 10 {
			bones = append(bones, b[from:len(b)-len(r.b)]...)
			continue
		}
		n := s.vector(1)
		bodies := binary.AppendUvarint(nil, uint64(n))
		for range n {
			bodies = append(bodies, 3, 0, 0x00, 0x0b) // its size, no locals, unreachable, end
		}
		bones = binary.AppendUvarint(append(bones, id), uint64(len(bodies)))
		bones = append(bones, bodies...)
	}
	return bones
}

// keepForSkeleton gives the only file of compiled code in a directory the name by
// which the engine looks for the code of the skeleton. What that is the engine shows
// by compiling the skeleton.
func keepForSkeleton(ctx context.Context, dir string, binary []byte, info *binaryInfo, module string, cache wazero.CompilationCache) error {
	if info.lines() {
		return nil
	}
	code := compiledFiles(dir)
	if len(code) != 1 {
		return nil // nothing that would be loaded, as with an engine that interprets
	}
	if _, _, err := compile(ctx, skeleton(binary, info), info, module, cache); err != nil {
		return err
	}
	for _, name := range compiledFiles(dir) {
		if name != code[0] {
			return os.Rename(code[0], name)
		}
	}
	return nil // a module without functions is its own skeleton
}

// loadCompiled returns a runtime with the compiled code of a directory. It is false when that
// was of no use.
func loadCompiled(ctx context.Context, dir string, binary []byte, info *binaryInfo, module string) (wazero.Runtime, wazero.CompiledModule, bool) {
	before, ok := compiledFile(dir)
	if !ok {
		return nil, nil, false
	}
	cache, err := newCodeCache(dir)
	if err != nil {
		return nil, nil, false
	}
	r, c, err := compile(ctx, skeleton(binary, info), info, module, cache)
	if err != nil {
		return nil, nil, false
	}
	// On a miss the engine compiles what it was given, which nobody may run, and keeps
	// that: it fails where nothing can be written, and elsewhere this is another file.
	if after, ok := compiledFile(dir); !ok || after != before {
		_ = r.Close(ctx)
		return nil, nil, false
	}
	return r, c, true
}

// fileID is one state of a file.
type fileID struct {
	name     string
	dev, ino uint64
	modified unix.Timespec
}

// compiledFile returns the only file of compiled code in a directory.
func compiledFile(dir string) (fileID, bool) {
	names := compiledFiles(dir)
	var st unix.Stat_t
	if len(names) != 1 || unix.Stat(names[0], &st) != nil {
		return fileID{}, false
	}
	return fileID{names[0], uint64(st.Dev), st.Ino, st.Mtim}, true
}
