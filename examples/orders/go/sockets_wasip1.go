package main

import (
	"context"
	"net"

	"github.com/stealthrocket/net/wasip1"
)

// The standard library has no sockets on wasip1 but those that it is given open.
// This package has them, by the same host functions as Rust's crates.
var listen = wasip1.Listen

// dial hides that a connection is a net.TCPConn: the MySQL driver would set
// options that Go does not have on wasip1, and complain.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := wasip1.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{conn}, nil
}
