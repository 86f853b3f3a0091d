// Command orders-go is an order service: HTTP in front of a MySQL database, with
// calls to other services. It is the same service as ../rust, so that what one
// does in one language can be looked up in the other.
//
//	orders-go serve      the service
//	orders-go migrate    create the table if there is none and end
//
// Compiled for wasip1 it uses the sockets of the WebAssembly host, otherwise the
// machine's; see sockets_wasip1.go. ../README.md shows how to build, run and use
// it.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("say serve or migrate")
	}
	orders, err := openStore(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve(orders)
	case "migrate":
		n, err := orders.migrate(context.Background())
		if err == nil {
			fmt.Printf("orders: the table has %d orders\n", n)
		}
		return err
	}
	return fmt.Errorf("unknown command %q: say serve or migrate", args[0])
}

func serve(orders *store) error {
	shipping, err := newShipping()
	if err != nil {
		return err
	}
	address := os.Getenv("LISTEN")
	if address == "" {
		address = "0.0.0.0:8080"
	}
	listener, err := listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	fmt.Println("orders: listening on", address)
	server := &http.Server{
		Handler:           routes(orders, shipping),
		ReadHeaderTimeout: 30 * time.Second,
	}
	return server.Serve(listener)
}
