// Command demo shows the project at work: it starts a private containerd, runs a
// Wasm image on it with ctr, prints what the guest printed and removes
// everything again. `make demo` builds what it needs and calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

const (
	runtimeName = "io.containerd.wasm.v1"
	imageRef    = "localhost/hello-c:1"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the project's programs")
	version := flag.String("containerd", "2.4", "containerd version: 2.4, 2.2, 1.7 or 1.6")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *bin, *version); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, bin, version string) (err error) {
	began := time.Now()
	if os.Getuid() != 0 {
		return fmt.Errorf("containers need root: run it with sudo")
	}
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	store, err := provision.Open(os.Stdout)
	if err != nil {
		return err
	}
	containerd, err := store.Containerd(ctx, version)
	if err != nil {
		return err
	}
	guest, err := store.Guest(ctx, "hello-c")
	if err != nil {
		return err
	}
	made := time.Since(began)

	d, err := daemon.Start(ctx, version, daemon.Programs{Containerd: containerd, Shim: bin})
	if err != nil {
		return err
	}
	say("started containerd %s, process %d, all its files in %s", version, d.Pid(), d.Dir)
	runErr := runHello(ctx, d, bin, guest)
	if runErr != nil {
		fmt.Fprintf(os.Stderr, "containerd and the shim complained:\n%s\n", daemon.Complaints(d.Log()))
	}
	if err := tearDown(d); err != nil {
		return err
	}
	if runErr != nil {
		return runErr
	}
	total := time.Since(began)
	say("done in %.1f s, of which %.1f s to build containerd and the guest or find them in %s",
		total.Seconds(), made.Seconds(), store.Dir)
	return nil
}

// runHello packs the guest, imports the image and runs it.
func runHello(ctx context.Context, d *daemon.Daemon, bin, guest string) error {
	tar := filepath.Join(d.Dir, "hello.tar")
	say("wasmctl pack %s -t %s -o hello.tar", filepath.Base(guest), imageRef)
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "wasmctl"), "pack", guest, "-t", imageRef, "-o", tar).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wasmctl pack: %w\n%s", err, out)
	}
	say("ctr images import hello.tar")
	if err := d.ImportImage(ctx, tar); err != nil {
		return err
	}
	args := []string{"run", "--rm", "--runtime", runtimeName, imageRef, d.NewID("hello"), "/app.wasm", "from", "ctr"}
	say("ctr %s", strings.Join(args, " "))
	began := time.Now()
	result := d.Ctr(ctx, args...)
	took := time.Since(began)
	for line := range strings.Lines(result.Stdout + result.Stderr) {
		fmt.Print("    ", line)
	}
	say("the guest's exit code is %d, after %d ms", result.Code, took.Milliseconds())
	if result.Code != 0 {
		return fmt.Errorf("ctr run ended with %d", result.Code)
	}
	return nil
}

// tearDown stops the daemon, also after an interrupt, and checks that nothing
// is left of it.
func tearDown(d *daemon.Daemon) error {
	leaked, err := d.Stop(context.Background())
	if err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	left, err := census.Take(d.Scope())
	if err != nil {
		return err
	}
	left = append(left, leaked...)
	if _, err := os.Lstat(d.Dir); err == nil {
		left = append(left, "directory "+d.Dir)
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	say("stopped containerd; no process, mount, cgroup, socket or file is left")
	return nil
}

func say(format string, args ...any) { fmt.Printf("==> "+format+"\n", args...) }
