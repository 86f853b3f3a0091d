package runner

import (
	"errors"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// coreFeatures is the set of WebAssembly features that guests may use, fixed
// for every guest and listed in docs/wasm.md. Compiled code is only valid for
// the set that it was compiled with, and wazero's key does not cover it.
//
// Beyond 2.0 these are on: tail calls and extended constant expressions, which
// are part of WebAssembly 3.0, are emitted by LLVM and cost nothing to others.
// These stay off: threads (nothing here starts one), exceptions (wazero 1.12
// miscompiles try_table), typed function references (no compiler emits them
// for WASI yet).
const coreFeatures = api.CoreFeaturesV2 |
	experimental.CoreFeaturesTailCall |
	experimental.CoreFeaturesExtendedConst

// runtimeConfig is the engine's configuration for one binary. The compile
// process and the guest's process must build the same one: entries of the cache
// are keyed by the binary alone.
//
// There is no WithCloseOnContextDone: it makes code four to fifteen times
// slower, and guests are ended by signals. The memory cap is not part of it
// either; linearMemory enforces it.
func runtimeConfig(info *binaryInfo) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(coreFeatures).
		// Without line tables it would only keep copies of custom sections.
		WithDebugInfoEnabled(info.lines())
}

// maxLines is the size in bytes of the code section up to which a trap names lines
// of the source. For that wazero keeps a map of every instruction beside compiled
// code, some 120,000 entries for a MiB, and reads it back with two system calls
// for each: a tenth of a second and more at every start.
const maxLines = 1 << 20

// lines tells whether traps name lines of the source.
func (info *binaryInfo) lines() bool { return info.debugLines && info.code <= maxLines }

// Names of features as messages show them.
const (
	featureExceptions         = "exception handling"
	featureFunctionReferences = "typed function references"
	featureGC                 = "garbage collected types (WasmGC)"
	featureMemory64           = "64-bit memory (memory64)"
	featureMultiMemory        = "more than one memory (multi-memory)"
	featurePageSizes          = "custom page sizes"
	featureRelaxedSIMD        = "relaxed SIMD"
	featureThreads            = "threads (shared memory, atomics)"
	featureWideArithmetic     = "wide arithmetic"
)

// wayOut says how to build a guest without a feature.
var wayOut = map[string]string{
	featureExceptions:         "build it without WebAssembly exceptions (C++: -fno-exceptions; Rust: panic=abort)",
	featureFunctionReferences: "build it for WebAssembly 2.0",
	featureGC:                 "languages that need WasmGC (Kotlin, Dart, Java) do not run here",
	featureMemory64:           "build it for wasm32",
	featureMultiMemory:        "build it with one memory",
	featurePageSizes:          "build it with pages of 64 KiB",
	featureRelaxedSIMD:        "build it without -mrelaxed-simd (Rust: without the target feature relaxed-simd)",
	featureThreads:            "build it for a target without threads (wasm32-wasip1, not wasm32-wasip1-threads)",
	featureWideArithmetic:     "build it for WebAssembly 2.0",
}

// refuseFeature is the sentence for a binary that needs a feature; detail is
// the engine's own text, or empty.
func refuseFeature(module, feature, detail string) error {
	if detail != "" {
		detail = " (" + detail + ")"
	}
	return control.Errorf(control.InvalidArgument, "%s uses %s, which this runtime does not support%s; %s, or see docs/wasm.md",
		module, feature, detail, wayOut[feature])
}

// refuseMalformed is the sentence for what readBinary says about a binary.
func refuseMalformed(module string, err error) error {
	if u, ok := errors.AsType[unsupported](err); ok {
		return refuseFeature(module, u.feature, "")
	}
	return refuseInvalid(module, err.Error())
}

// refuseByEngine is the sentence for what the engine says about a binary. It
// always includes the engine's own words.
func refuseByEngine(module string, info *binaryInfo, err error) error {
	text := printable(err.Error(), maxEngineText)
	if f := featureOf(text, info); f != "" {
		return refuseFeature(module, f, text)
	}
	return refuseInvalid(module, text)
}

func refuseInvalid(module, reason string) error {
	return control.Errorf(control.InvalidArgument,
		"%s is not a valid WebAssembly module for this runtime: %s; check it with wasm-tools validate, or see docs/wasm.md for the features that are supported",
		module, reason)
}

// maxEngineText bounds how much of an engine's message reaches the user; it
// may quote names from the module.
const maxEngineText = 1 << 10

// featureOf tells which feature the engine misses in a binary; empty when
// neither wazero's words nor the compiler's own list tell.
func featureOf(text string, info *binaryInfo) string {
	for _, c := range []struct{ part, feature string }{
		{`feature "exception-handling" is disabled`, featureExceptions},
		{"exception handling", featureExceptions},
		{`feature "typed-function-references" is disabled`, featureFunctionReferences},
		{"threads feature not enabled", featureThreads},
		{`feature "threads" is disabled`, featureThreads},
		{"at most one memory allowed", featureMultiMemory},
		{"memory index must be zero", featureMultiMemory},
		{"memory instruction reserved bytes not zero", featureMultiMemory},
		{"reserved byte must be zero encoded with 1 byte", featureMultiMemory},
	} {
		if strings.Contains(text, c.part) {
			return c.feature
		}
	}
	// The legacy instructions try, catch, rethrow, delegate and catch_all, and
	// the prefix of WasmGC, have no name in wazero while their feature is off.
	for _, c := range []struct{ opcode, feature string }{
		{"0x6", featureExceptions},
		{"0x7", featureExceptions},
		{"0x9", featureExceptions},
		{"0x18", featureExceptions},
		{"0x19", featureExceptions},
		{"0xfb", featureGC},
	} {
		if strings.HasSuffix(text, "invalid instruction "+c.opcode) {
			return c.feature
		}
	}
	// wazero misreads the two-byte opcodes of relaxed SIMD as other
	// instructions, so that only the compiler's list can tell.
	for _, c := range []struct{ target, feature string }{
		{"relaxed-simd", featureRelaxedSIMD},
		{"exception-handling", featureExceptions},
		{"gc", featureGC},
		{"wide-arithmetic", featureWideArithmetic},
	} {
		if slices.Contains(info.targetFeatures, c.target) {
			return c.feature
		}
	}
	return ""
}
