package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"
)

const createTable = `CREATE TABLE IF NOT EXISTS orders (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer VARCHAR(100) NOT NULL,
    item VARCHAR(100) NOT NULL,
    quantity INT UNSIGNED NOT NULL,
    cents BIGINT UNSIGNED NOT NULL
) CHARACTER SET utf8mb4`

const columns = "id, customer, item, quantity, cents"

// newOrder is what a client sends.
type newOrder struct {
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Quantity uint32 `json:"quantity"`
	Cents    uint64 `json:"cents"` // the price of all items together
}

// order is what the database has.
type order struct {
	ID uint64 `json:"id"`
	newOrder
}

func (o newOrder) check() error {
	for name, text := range map[string]string{"customer": o.Customer, "item": o.Item} {
		// The column counts characters, not bytes.
		if n := utf8.RuneCountInString(text); n < 1 || n > 100 {
			return badRequest(name + " must have 1 to 100 characters")
		}
	}
	if o.Quantity == 0 {
		return badRequest("quantity must be at least 1")
	}
	return nil
}

var errNotFound = errors.New("not found")

// store is the table, behind a pool of connections.
//
// A connection that was idle while the database restarted fails a request, once,
// because the driver does not look at connections before use on wasip1; the
// others are then thrown away too.
type store struct{ db *sql.DB }

const mostConnections = 16

// openStore takes mysql://user:password@host:port/database.
func openStore(raw string) (*store, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "mysql" || u.Host == "" {
		return nil, errors.New("DATABASE_URL is not of the form mysql://user:password@host:port/database")
	}
	cfg := mysql.NewConfig()
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.Net, cfg.Addr = "tcp", u.Host
	if u.Port() == "" {
		cfg.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	cfg.DialFunc = dial
	// An update that changes nothing has still found its order.
	cfg.ClientFoundRows = true
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(mostConnections)
	db.SetMaxIdleConns(mostConnections)
	return &store{db}, nil
}

// checked returns the error of an operation. When it is not an answer of the
// database, no idle connection is to be trusted.
func (s *store) checked(err error) error {
	var answer *mysql.MySQLError
	if err != nil && !errors.As(err, &answer) {
		s.db.SetMaxIdleConns(0) // closes them
		s.db.SetMaxIdleConns(mostConnections)
	}
	return err
}

// migrate creates the table if there is none and counts its orders.
func (s *store) migrate(ctx context.Context) (n int, err error) {
	if _, err := s.db.ExecContext(ctx, createTable); err != nil {
		return 0, fmt.Errorf("create the table: %w", err)
	}
	err = s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders").Scan(&n)
	return n, err
}

// initialise makes the table anew, without an order.
func (s *store) initialise(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, "DROP TABLE IF EXISTS orders"); err != nil {
		return s.checked(err)
	}
	_, err := s.db.ExecContext(ctx, createTable)
	return s.checked(err)
}

// add adds all the orders or, on a failure, none.
func (s *store) add(ctx context.Context, orders []newOrder) ([]order, error) {
	if len(orders) == 0 {
		return []order{}, nil
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?), ", len(orders)), ", ")
	var values []any
	for _, o := range orders {
		values = append(values, o.Customer, o.Item, o.Quantity, o.Cents)
	}
	return s.query(ctx, "INSERT INTO orders (customer, item, quantity, cents) VALUES "+
		rows+" RETURNING "+columns, values...)
}

func (s *store) list(ctx context.Context) ([]order, error) {
	return s.query(ctx, "SELECT "+columns+" FROM orders ORDER BY id")
}

func (s *store) get(ctx context.Context, id uint64) (order, error) {
	found, err := s.query(ctx, "SELECT "+columns+" FROM orders WHERE id = ?", id)
	if err != nil {
		return order{}, err
	}
	if len(found) == 0 {
		return order{}, errNotFound
	}
	return found[0], nil
}

func (s *store) replace(ctx context.Context, id uint64, o newOrder) (order, error) {
	err := s.change(ctx, "UPDATE orders SET customer = ?, item = ?, quantity = ?, cents = ? WHERE id = ?",
		o.Customer, o.Item, o.Quantity, o.Cents, id)
	if err != nil {
		return order{}, err
	}
	return s.get(ctx, id)
}

func (s *store) delete(ctx context.Context, id uint64) error {
	return s.change(ctx, "DELETE FROM orders WHERE id = ?", id)
}

// change executes a statement that must find an order.
func (s *store) change(ctx context.Context, statement string, values ...any) error {
	result, err := s.db.ExecContext(ctx, statement, values...)
	if err != nil {
		return s.checked(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errNotFound)
	}
	return nil
}

func (s *store) query(ctx context.Context, statement string, values ...any) ([]order, error) {
	rows, err := s.db.QueryContext(ctx, statement, values...)
	if err != nil {
		return nil, s.checked(err)
	}
	defer rows.Close()
	orders := []order{} // an empty list is [], not null
	for rows.Next() {
		var o order
		if err := rows.Scan(&o.ID, &o.Customer, &o.Item, &o.Quantity, &o.Cents); err != nil {
			return nil, err
		}
		orders = append(orders, o)
	}
	return orders, s.checked(rows.Err())
}
