package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	longestBody = 1 << 20 // bytes
	// mostOrders is for one request: the database takes 65,535 parameters.
	mostOrders = 1000
	// patience is how long the database and other services may take.
	patience = 30 * time.Second
)

//go:embed page.html
var page []byte

// badRequest is what is wrong with a request.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// shippingError is why the shipping service has no answer.
type shippingError struct{ error }

func (e shippingError) Error() string { return "shipping: " + e.error.Error() }

// action does what a request asks. It returns a status and what to send as JSON,
// nil for an empty answer.
type action func(ctx context.Context, r *http.Request) (int, any, error)

func routes(orders *store, shipping *shipping) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		if kind := r.Header.Get("Content-Type"); kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		// Reading and writing at the same time, so that an echo of any length
		// needs little memory.
		_ = http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	})
	for pattern, do := range map[string]action{
		"PUT /table": func(ctx context.Context, _ *http.Request) (int, any, error) {
			return http.StatusNoContent, nil, orders.initialise(ctx)
		},
		"GET /orders": func(ctx context.Context, _ *http.Request) (int, any, error) {
			all, err := orders.list(ctx)
			return http.StatusOK, all, err
		},
		"POST /orders": func(ctx context.Context, r *http.Request) (int, any, error) {
			created, err := create(ctx, orders, r)
			return http.StatusCreated, created, err
		},
		"GET /orders/{id}": withID(func(ctx context.Context, id uint64, _ *http.Request) (int, any, error) {
			found, err := orders.get(ctx, id)
			return http.StatusOK, found, err
		}),
		"PUT /orders/{id}": withID(func(ctx context.Context, id uint64, r *http.Request) (int, any, error) {
			var o newOrder
			if err := read(r, &o); err != nil {
				return 0, nil, err
			}
			if err := o.check(); err != nil {
				return 0, nil, err
			}
			changed, err := orders.replace(ctx, id, o)
			return http.StatusOK, changed, err
		}),
		"DELETE /orders/{id}": withID(func(ctx context.Context, id uint64, _ *http.Request) (int, any, error) {
			return http.StatusNoContent, nil, orders.delete(ctx, id)
		}),
		"GET /shipping/{way}": func(ctx context.Context, r *http.Request) (int, any, error) {
			rates, err := shipping.rates(ctx, r.PathValue("way"))
			return http.StatusOK, json.RawMessage(rates), err
		},
	} {
		mux.HandleFunc(pattern, answer(do))
	}
	return mux
}

func withID(do func(context.Context, uint64, *http.Request) (int, any, error)) action {
	return func(ctx context.Context, r *http.Request) (int, any, error) {
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
		if err != nil {
			return 0, nil, errNotFound
		}
		return do(ctx, id, r)
	}
}

func answer(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// A client that closes its sending side has asked all it wants and still
		// reads; the request's own context would end with that.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
		defer cancel()
		code, body, err := do(ctx, r)
		if err != nil {
			code, body = status(err), map[string]string{"error": err.Error()}
		}
		if body == nil {
			w.WriteHeader(code)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(body)
	}
}

func status(err error) int {
	var refused *mysql.MySQLError
	var bad badRequest
	var tooLarge *http.MaxBytesError
	var shipping shippingError
	switch {
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errNotFound):
		return http.StatusNotFound
	case errors.As(err, &shipping):
		return http.StatusBadGateway
	case errors.As(err, &refused):
		// What the database refuses will be refused again.
		return http.StatusInternalServerError
	}
	return http.StatusServiceUnavailable
}

// create adds the order of the body, or all of a list.
func create(ctx context.Context, orders *store, r *http.Request) (any, error) {
	var raw json.RawMessage
	if err := read(r, &raw); err != nil {
		return nil, err
	}
	one := !bytes.HasPrefix(raw, []byte("["))
	if one {
		raw = append(append([]byte("["), raw...), ']')
	}
	var list []newOrder
	if err := parse(bytes.NewReader(raw), &list); err != nil {
		return nil, err
	}
	if len(list) > mostOrders {
		return nil, badRequest(fmt.Sprintf("at most %d orders at once", mostOrders))
	}
	for _, o := range list {
		if err := o.check(); err != nil {
			return nil, err
		}
	}
	created, err := orders.add(ctx, list)
	if one && err == nil {
		return created[0], nil
	}
	return created, err
}

func read(r *http.Request, to any) error {
	return parse(http.MaxBytesReader(nil, r.Body, longestBody), to)
}

func parse(from io.Reader, to any) error {
	d := json.NewDecoder(from)
	d.DisallowUnknownFields()
	err := d.Decode(to)
	var tooLarge *http.MaxBytesError
	if err == nil || errors.As(err, &tooLarge) {
		return err
	}
	return badRequest("the body: " + err.Error())
}
