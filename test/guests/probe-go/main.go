//go:build wasip1

// Command probe-go is a guest with one behaviour per verb, for what Go's
// runtime does differently from C's: its own scheduler, timers and panics.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	verb, one := "hello", ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	if len(os.Args) > 2 {
		one = os.Args[2]
	}
	if err := run(verb, one); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb, one string) error {
	switch verb {
	case "hello":
		fmt.Println("hello from probe-go")
	case "args":
		fmt.Println(strings.Join(os.Args, " "))
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "cwd":
		wd, err := os.Getwd()
		fmt.Println(wd)
		return err
	case "exit":
		n, err := strconv.Atoi(one)
		if err != nil {
			return err
		}
		os.Exit(n)
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "read":
		b, err := os.ReadFile(one)
		os.Stdout.Write(b)
		return err
	case "timers":
		// Goroutines that sleep together end together.
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { time.Sleep(200 * time.Millisecond) })
		}
		wg.Wait()
		if took := time.Since(began); took > time.Second {
			return fmt.Errorf("ten sleeps of 200 ms took %v", took)
		}
		fmt.Println("timers are concurrent")
	case "drain":
		return drain()
	case "serve":
		return serve(one)
	case "panic":
		panic("probe-go panics")
	default:
		return fmt.Errorf("probe-go: no verb %s", verb)
	}
	return nil
}

// serve answers what it gets, on a listener that it was given.
func serve(fd string) error {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(uintptr(n), "listener"))
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// drain works until it is asked to end, and then finishes what it does.
func drain() error {
	fd, err := strconv.Atoi(os.Getenv("WASI_SIGNAL_FD"))
	if err != nil {
		return err
	}
	signals := make(chan string)
	go func() {
		line, err := bufio.NewReader(os.NewFile(uintptr(fd), "signals")).ReadString('\n')
		if err != nil {
			line = err.Error()
		}
		signals <- strings.TrimSpace(line)
	}()
	for ticks := 0; ; ticks++ {
		select {
		case sig := <-signals:
			fmt.Println("drains on", sig)
			return nil
		case <-time.After(50 * time.Millisecond):
			if ticks == 1 {
				fmt.Println("waiting")
			}
		}
	}
}
