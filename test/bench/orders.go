package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/wasmshim/containerd-shim-wasm/test/orders"
)

// measureOrders measures the order service in Rust, examples/orders/rust, with
// its database and its client in a network namespace of their own. Natively it
// is the same source on the crates that those of the guest are forks of, see
// orders-native.
func measureOrders(ctx context.Context, b *bench, rounds int) (all []*figure, err error) {
	load, err := b.store.Native(ctx, "load")
	if err != nil {
		return nil, err
	}
	stage, err := orders.Open(ctx, b.store, b.bin)
	if err != nil {
		return nil, err
	}
	defer func() {
		_, closeErr := stage.Close()
		err = errors.Join(err, closeErr)
	}()
	services := make([]*orders.Service, len(contenders))
	for i, c := range contenders {
		services[i], err = stage.Start(ctx, orders.ServiceConfig{Guest: "orders-rust", Native: c.name == native, Port: 8080 + i})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		defer func() { err = errors.Join(err, services[i].Remove(context.WithoutCancel(ctx))) }()
		if err := services[i].Listens(ctx); err != nil {
			return nil, err
		}
	}
	const order = `{"customer":"Ada","item":"tea","quantity":2,"cents":900}`
	for _, c := range []struct{ name, method, path, body string }{
		{"echo of 1 KiB", http.MethodPost, "/echo", string(bytes.Repeat([]byte("x"), 1<<10))},
		{"create an order", http.MethodPost, "/orders", order},
		{"list 1 order", http.MethodGet, "/orders", ""},
	} {
		request := filepath.Join(stage.Daemon.Dir, "work", "request")
		text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: orders\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			c.method, c.path, len(c.body), c.body)
		if err := os.WriteFile(request, []byte(text), 0o644); err != nil {
			return nil, err
		}
		figures := loadFigures("orders", c.name, 0)
		for round := range rounds + 1 {
			for i, s := range services {
				if err := refill(ctx, s, order); err != nil {
					return nil, err
				}
				cmd := exec.CommandContext(ctx, load, orders.ServiceIP, strconv.Itoa(s.Port), strconv.Itoa(connections), "1000", "http", request)
				v, err := measureServer(ctx, s.Task, cmd, stage.Outside.Start)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", c.name, contenders[i].name, err)
				}
				if round > 0 {
					v.add(figures, i)
				}
			}
			progress("orders, "+c.name, round, rounds)
		}
		all = append(all, figures...)
	}
	return all, nil
}

// refill makes the table anew, with one order.
func refill(ctx context.Context, s *orders.Service, order string) error {
	client := s.Client(1)
	defer client.CloseIdleConnections()
	if err := orders.Initialise(ctx, client); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orders/orders", bytes.NewReader([]byte(order)))
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("create an order: the service answers %s", answer.Status)
	}
	return nil
}
