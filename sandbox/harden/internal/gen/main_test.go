package main

import (
	"bytes"
	"os"
	"testing"
)

func TestFiltersAreThoseOfTheProfile(t *testing.T) {
	for _, goarch := range processors() {
		want, err := generate(goarch)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../../" + fileOf(goarch))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run go generate ./sandbox/harden", fileOf(goarch))
		}
	}
}
