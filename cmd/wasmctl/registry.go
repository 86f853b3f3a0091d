package main

import (
	"github.com/urfave/cli/v2"

	"github.com/wasmshim/containerd-shim-wasm/image"
)

// registryFlags say how to talk to a registry, under the names that oras gave
// them.
func registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "plain-http", Usage: "talk to the registry without TLS"},
		&cli.BoolFlag{Name: "insecure", Usage: "accept any certificate of the registry"},
		&cli.StringFlag{Name: "ca-file", Usage: "PEM `FILE` of certificates to trust beside the system's"},
	}
}

func registry(c *cli.Context) image.Registry {
	return image.Registry{PlainHTTP: c.Bool("plain-http"), Insecure: c.Bool("insecure"), CAFile: c.String("ca-file")}
}
