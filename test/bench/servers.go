package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// measureServers measures a server in C with one poll(2), test/guests/server.c,
// at 64 connections on the loopback of this machine's network namespace, in
// which the containers are as well.
func measureServers(ctx context.Context, b *bench, rounds int) (all []*figure, _ error) {
	load, err := b.store.Native(ctx, "load")
	if err != nil {
		return nil, err
	}
	err = b.withDaemon(ctx, []string{"server"}, func(d *daemon.Daemon) error {
		request := filepath.Join(d.Dir, "work", "request")
		if err := os.WriteFile(request, []byte("GET / HTTP/1.1\r\nHost: server\r\n\r\n"), 0o644); err != nil {
			return err
		}
		for _, c := range []struct {
			verb, name string
			args       []string
		}{
			{"echo", "echo of 64 bytes", []string{"64"}},
			{"http", "HTTP, page of 14 bytes", []string{"http", request}},
		} {
			figures := loadFigures("server", c.name, 0.85)
			if err := roundsOfServer(ctx, d, c.verb, append([]string{load}, c.args...), figures, rounds); err != nil {
				return err
			}
			all = append(all, figures...)
		}
		return nil
	})
	return all, err
}

// roundsOfServer starts the server once for each contender; who is not asked
// waits.
func roundsOfServer(ctx context.Context, d *daemon.Daemon, verb string, load []string, figures []*figure, rounds int) (err error) {
	servers, ports := make([]*container, len(contenders)), make([]string, len(contenders))
	for i, c := range contenders {
		if ports[i], err = freePort(); err != nil {
			return err
		}
		listens := newSignalWriter()
		servers[i], err = c.start(ctx, d, "server", []string{verb, ports[i]}, listens, oci.WithHostNamespace(specs.NetworkNamespace))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		defer func() { err = errors.Join(err, servers[i].remove(context.WithoutCancel(ctx))) }()
		select {
		case <-listens.written:
		case status := <-servers[i].exit:
			return fmt.Errorf("%s: the server ended with %d", c.name, status.ExitCode())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for round := range rounds + 1 { // the first warms up
		for i, c := range contenders {
			args := append([]string{"127.0.0.1", ports[i], strconv.Itoa(connections), "500"}, load[1:]...)
			s, err := measureServer(ctx, servers[i].task, exec.CommandContext(ctx, load[0], args...), (*exec.Cmd).Start)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				s.add(figures, i)
			}
		}
		progress(figures[0].Case, round, rounds)
	}
	return nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// signalWriter tells of the first thing that is written to it.
type signalWriter struct{ written chan struct{} }

func newSignalWriter() *signalWriter { return &signalWriter{make(chan struct{}, 1)} }

func (w *signalWriter) Write(p []byte) (int, error) {
	select {
	case w.written <- struct{}{}:
	default:
	}
	return io.Discard.Write(p)
}
