//go:build !amd64 && !arm64

package harden

import (
	"errors"
	"fmt"
	"runtime"
)

// Harden fails with errors.ErrUnsupported: there is no filter for this processor.
func Harden() error {
	return fmt.Errorf("there is no filter for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
}
