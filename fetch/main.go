package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/layerfile"
)

// timeLimit is for a daemon that does not answer: it is the one that waits for
// the shim, and it has the layer on its disk.
const timeLimit = 2 * time.Minute

// Main is the process. Its error is one of the environment that the shim made for
// it; what becomes of the request is the answer.
func Main(ctx context.Context) error {
	var r layerfile.Request
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	f := os.NewFile(layerfile.AnswerFD, "answer")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("open descriptor %d: %w", layerfile.AnswerFD, err)
	}
	defer conn.Close()
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("descriptor %d is no Unix socket", layerfile.AnswerFD)
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	file, err := serve(ctx, &r)
	return layerfile.Send(unixConn, file, err)
}

func serve(ctx context.Context, r *layerfile.Request) (*layerfile.File, error) {
	d, err := dial(r)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.layer(d.within(ctx), r)
}
