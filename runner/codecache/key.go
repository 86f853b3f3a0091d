package codecache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"
)

// Key names the compiled code of one module. Code of equal keys is
// interchangeable; whatever else changes the code has to go into Build.
type Key struct {
	Module [32]byte // SHA-256 of the binary
	Engine string   // name and version, such as "wazero 1.12.0"
	Build  string   // of this program, with the engine's configuration
	CPU    string   // architecture and features, as NewKey finds them
}

// NewKey returns the key of a module on this machine.
func NewKey(module [32]byte, engine, build string) Key {
	return Key{Module: module, Engine: engine, Build: build, CPU: cpuName()}
}

// String is the name of the entry: 64 hexadecimal digits.
func (k Key) String() string {
	h := sha256.New()
	h.Write(k.Module[:])
	for _, s := range []string{k.Engine, k.Build, k.CPU} {
		// The length in front keeps "ab","c" apart from "a","bc".
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// cpuName lists the architecture and the features that golang.org/x/sys/cpu
// detects, in the order of its fields. It knows more of them than any engine
// uses: a machine image that moves to other hardware at worst compiles again.
func cpuName() string {
	var features reflect.Value
	switch runtime.GOARCH {
	case "amd64":
		features = reflect.ValueOf(cpu.X86)
	case "arm64":
		features = reflect.ValueOf(cpu.ARM64)
	default:
		return runtime.GOARCH
	}
	var names []string
	for i := range features.NumField() {
		if f := features.Type().Field(i); f.IsExported() && f.Type.Kind() == reflect.Bool && features.Field(i).Bool() {
			names = append(names, strings.TrimPrefix(f.Name, "Has"))
		}
	}
	return runtime.GOARCH + ":" + strings.Join(names, ",")
}
