// Command orders starts the order service of examples/orders with all that it
// needs: a private containerd, a MariaDB and a shipping service. It prints the
// address of the service's page on this machine, and waits. An interrupt removes
// everything again. `make orders` builds what it needs and calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/wasmshim/containerd-shim-wasm/test/orders"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the project's programs")
	language := flag.String("language", "rust", "the service's language: rust or go")
	address := flag.String("listen", "127.0.0.1:8080", "address on this machine; port 0 chooses one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *language, *address); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, language, address string) (err error) {
	if language != "rust" && language != "go" {
		return fmt.Errorf("-language is %q: use rust or go", language)
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("containers need root: run it with sudo")
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: choose another address with -listen", err)
	}
	defer listener.Close()
	store, err := provision.Open(os.Stdout)
	if err != nil {
		return err
	}
	stage, err := orders.Open(ctx, store, bin)
	if err != nil {
		return err
	}
	defer func() {
		left, closeErr := stage.Close()
		if len(left) > 0 {
			closeErr = errors.Join(closeErr, fmt.Errorf("left behind:\n%s", strings.Join(left, "\n")))
		}
		if err = errors.Join(err, closeErr); err == nil {
			say("stopped; no process, mount, cgroup, socket or file is left")
		}
	}()
	say("started containerd, MariaDB %s:3306 and the shipping service in a network namespace of their own", orders.OutsideIP)
	// Not of ctx: the service is ended in order.
	background := context.WithoutCancel(ctx)
	service, err := stage.Start(background, orders.ServiceConfig{Guest: "orders-" + language, Port: 8080})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.Remove(background)) }()
	if err := service.Listens(ctx); err != nil {
		return err
	}
	client := service.Client(1)
	defer client.CloseIdleConnections()
	if err := orders.Initialise(ctx, client); err != nil {
		return err
	}
	say("the service, a Wasm module in container %s, has its page at http://%s/", service.ID(), listener.Addr())
	say("Ctrl-C ends and removes everything")
	forward(ctx, listener, service)
	return nil
}

// forward carries connections from this machine into the service's namespace
// until the context ends, and then ends those that are left.
func forward(ctx context.Context, l net.Listener, service *orders.Service) {
	var carriers sync.WaitGroup
	defer carriers.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		client, err := l.Accept()
		if err != nil {
			return // closed: nothing else fails for good on loopback
		}
		carriers.Go(func() { carry(ctx, client, service) })
	}
}

func carry(ctx context.Context, client net.Conn, service *orders.Service) {
	defer client.Close()
	server, err := service.Dial(ctx)
	if err != nil {
		return // the client sees its connection end
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
	var directions sync.WaitGroup
	for _, d := range [][2]net.Conn{{client, server}, {server, client}} {
		directions.Go(func() {
			// An end in one direction is passed on, and leaves the other open.
			io.Copy(d[1], d[0])
			d[1].(*net.TCPConn).CloseWrite()
		})
	}
	directions.Wait()
}

func say(format string, args ...any) { fmt.Printf("==> "+format+"\n", args...) }
