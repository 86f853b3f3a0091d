//go:build !amd64 && !arm64

package harden

import (
	"errors"
	"runtime"
)

// Harden fails: there is no filter for this processor.
func Harden() error {
	return errors.New("harden the process: there is no filter for " + runtime.GOARCH)
}
