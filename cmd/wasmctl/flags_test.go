package main

import (
	"slices"
	"testing"
)

func TestFlagsMayFollowTheModule(t *testing.T) {
	flags := packCommand().Flags
	for _, tt := range []struct{ args, want []string }{
		{[]string{"a.wasm", "-t", "n"}, []string{"-t", "n", "a.wasm"}},
		{[]string{"-t", "n", "a.wasm", "--env=A=1"}, []string{"-t", "n", "--env=A=1", "a.wasm"}},
		{[]string{"a.wasm", "-o", "-", "--arg", "-v"}, []string{"-o", "-", "--arg", "-v", "a.wasm"}},
		{[]string{"a.wasm", "--unknown", "-h"}, []string{"--unknown", "-h", "a.wasm"}},
		{[]string{"-t", "n", "--", "-odd.wasm", "-t"}, []string{"-t", "n", "--", "-odd.wasm", "-t"}},
		{[]string{"a.wasm", "--", "b"}, []string{"--", "a.wasm", "b"}},
		{[]string{"a.wasm", "-t"}, []string{"-t", "a.wasm"}},
		{nil, nil},
	} {
		if got := flagsFirst(flags, tt.args); !slices.Equal(got, tt.want) {
			t.Errorf("flagsFirst(%q) = %q, want %q", tt.args, got, tt.want)
		}
	}
}
