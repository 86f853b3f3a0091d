package orders

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Database is a MariaDB server of its own.
type Database struct {
	space *Namespace
	// dir has the server's files, its data and a copy of its program: the
	// server's user can enter no directory of root.
	dir     string
	command *exec.Cmd // nil while it is down
	exited  chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

const (
	databasePort     = 3306
	databaseName     = "shop"
	databaseUser     = "shop"
	databasePassword = "secret"
	// The server runs as a user that is nobody else's and has no name.
	databaseUID = 61306
	// startPatience is ample: 2 s is usual.
	startPatience = 60 * time.Second
)

// newDatabase makes the data of a server, whose unpacked package is at root, in
// a new directory dir.
func newDatabase(ctx context.Context, space *Namespace, root, dir string) (*Database, error) {
	d := &Database{space: space, dir: dir}
	for _, part := range []string{"usr/sbin/mariadbd", "usr/share/mysql", "usr/lib"} {
		if err := linkTree(filepath.Join(root, part), filepath.Join(dir, part)); err != nil {
			return nil, err
		}
	}
	for _, sub := range []string{"data", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
		if err := os.Chown(filepath.Join(dir, sub), databaseUID, databaseUID); err != nil {
			return nil, err
		}
	}
	if err := d.bootstrap(ctx); err != nil {
		return nil, fmt.Errorf("make the system tables: %w", err)
	}
	setup := fmt.Sprintf("CREATE DATABASE IF NOT EXISTS %s;\nCREATE USER IF NOT EXISTS %s IDENTIFIED BY '%s';\nGRANT ALL ON %s.* TO %s;\n",
		databaseName, databaseUser, databasePassword, databaseName, databaseUser)
	return d, os.WriteFile(filepath.Join(dir, "setup.sql"), []byte(setup), 0o644)
}

// bootstrap feeds the server the statements that make its system tables, as its
// own installer does. In this mode a line is a statement.
func (d *Database) bootstrap(ctx context.Context) error {
	statements := []io.Reader{strings.NewReader("CREATE DATABASE mysql;\nUSE mysql;\n")}
	for _, name := range []string{"mysql_system_tables.sql", "mysql_performance_tables.sql"} {
		b, err := os.ReadFile(filepath.Join(d.dir, "usr/share/mysql", name))
		if err != nil {
			return err
		}
		statements = append(statements, bytes.NewReader(b))
	}
	cmd := d.server(ctx, "--bootstrap", "--skip-networking")
	cmd.Stdin = io.MultiReader(statements...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadbd --bootstrap: %w\n%s", err, out)
	}
	return nil
}

// server is a call of the server with what all its calls need. Memory is that of
// a small shop.
func (d *Database) server(ctx context.Context, args ...string) *exec.Cmd {
	share := filepath.Join(d.dir, "usr/share/mysql")
	cmd := exec.CommandContext(ctx, filepath.Join(d.dir, "usr/sbin/mariadbd"), append([]string{
		"--no-defaults",
		"--basedir=" + filepath.Join(d.dir, "usr"),
		"--datadir=" + filepath.Join(d.dir, "data"),
		"--tmpdir=" + filepath.Join(d.dir, "tmp"),
		"--lc-messages-dir=" + share,
		"--character-sets-dir=" + filepath.Join(share, "charsets"),
		"--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M", "--performance-schema=off",
	}, args...)...)
	libraries, _ := filepath.Glob(filepath.Join(d.dir, "usr/lib/*-linux-gnu"))
	cmd.Env = []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}
	cmd.Dir = filepath.Join(d.dir, "tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: databaseUID, Gid: databaseUID},
		Setpgid:    true, // an interrupt from the terminal is for the owner
	}
	return cmd
}

// Start starts the server and returns when it takes connections.
func (d *Database) Start(ctx context.Context) error {
	cmd := d.server(context.WithoutCancel(ctx),
		fmt.Sprintf("--port=%d", databasePort),
		"--bind-address=0.0.0.0", "--skip-name-resolve", "--max-connections=200",
		"--socket="+filepath.Join(d.dir, "tmp", "s.sock"),
		"--init-file="+filepath.Join(d.dir, "setup.sql"))
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // the thread is the namespace's
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := d.space.Start(cmd); err != nil {
		return fmt.Errorf("start mariadbd: %w", err)
	}
	ready, exited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(exited)
		d.readLog(stderr, ready)
		_ = cmd.Wait() // how it ended is in its log
	}()
	d.command, d.exited = cmd, exited
	select {
	case <-ready:
		return nil
	case <-exited:
		d.command = nil
		return fmt.Errorf("mariadbd ended by itself:\n%s", d.Log())
	case <-time.After(startPatience):
		err = fmt.Errorf("mariadbd is not ready:\n%s", d.Log())
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = d.Stop(syscall.SIGKILL)
	return err
}

// readLog keeps what the server says until it ends, and closes ready when it says
// that it is.
func (d *Database) readLog(from io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(from)
	said := false
	for lines.Scan() {
		d.mu.Lock()
		d.log.Write(append(lines.Bytes(), '\n'))
		d.mu.Unlock()
		if !said && strings.HasSuffix(lines.Text(), ": ready for connections.") {
			said = true
			close(ready)
		}
	}
}

// Stop ends the server with the signal, SIGTERM or SIGKILL, and waits for its
// end.
func (d *Database) Stop(sig syscall.Signal) error {
	if d.command == nil {
		return nil
	}
	_ = d.command.Process.Signal(sig) // fails when it has ended
	defer func() { d.command = nil }()
	select {
	case <-d.exited:
		return nil
	case <-time.After(startPatience):
		_ = d.command.Process.Kill()
		<-d.exited
		return fmt.Errorf("mariadbd did not end by %v: killed", sig)
	}
}

// Log is what the server has said so far.
func (d *Database) Log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// linkTree links a file or all files of a directory to a new place, or copies
// them to another file system.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		dst := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(dst, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, dst)
		}
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		if os.Link(path, dst) == nil {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(dst, b, 0o755)
	})
}
