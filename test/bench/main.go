// Command bench measures the shim against runc on a private containerd: the same
// C program, compiled to Wasm and natively, run by `ctr run --rm` in turn, so
// that the machine's noise hits both alike. Quote the ratio, not the times.
//
//	bench [-bin DIR] [-n RUNS] [-json FILE] [-sizes]
//
// With -sizes it measures starts and memory by the size of the module instead.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// contender is one way to run the program.
type contender struct {
	name    string
	runtime string
	image   string
	// Samples are wall times of whole runs in milliseconds.
	samples []float64
}

func main() {
	bin := flag.String("bin", "bin", "directory of the project's programs")
	runs := flag.Int("n", 40, "runs of each contender")
	version := flag.String("containerd", "2.4", "containerd version: 2.4, 2.2, 1.7 or 1.6")
	raw := flag.String("json", "", "file for the raw samples")
	bySize := flag.Bool("sizes", false, "measure modules of several sizes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	contenders := []*contender{
		{name: "wasm", runtime: wasmRuntime, image: "localhost/bench-wasm:1"},
		{name: "runc", runtime: "io.containerd.runc.v2", image: "localhost/bench-native:1"},
	}
	if *bySize {
		contenders = nil
	}
	err := bench(ctx, *bin, *version, *runs, contenders)
	if err == nil && *raw != "" {
		err = writeSamples(*raw, contenders)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if contenders != nil {
		report(contenders)
	}
}

const wasmRuntime = "io.containerd.wasm.v1"

func bench(ctx context.Context, bin, version string, runs int, contenders []*contender) (err error) {
	if bin, err = filepath.Abs(bin); err != nil {
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
	runc, err := store.Runc(ctx)
	if err != nil {
		return err
	}
	d, err := daemon.Start(ctx, version, daemon.Programs{Containerd: containerd, Runc: runc, Shim: bin})
	if err != nil {
		return err
	}
	defer func() {
		if _, stopErr := d.Stop(context.Background()); err == nil {
			err = stopErr
		}
	}()
	if contenders == nil {
		return measureSizes(ctx, store, d, runs)
	}
	if err := importImages(ctx, store, d, bin, contenders); err != nil {
		return err
	}
	const warmUp = 2
	for i := range runs + warmUp {
		for _, c := range contenders {
			began := time.Now()
			r := d.Ctr(ctx, "run", "--rm", "--runtime", c.runtime, c.image, d.NewID("bench"))
			took := time.Since(began)
			if r.Code != 0 {
				return fmt.Errorf("%s: exit code %d\n%s%s", c.name, r.Code, r.Stdout, r.Stderr)
			}
			if i >= warmUp {
				c.samples = append(c.samples, float64(took.Microseconds())/1000)
			}
		}
		fmt.Fprintf(os.Stderr, "\r%d of %d", i+1, runs+warmUp)
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

func importImages(ctx context.Context, store *provision.Store, d *daemon.Daemon, bin string, contenders []*contender) error {
	guest, err := store.Guest(ctx, "hello-c")
	if err != nil {
		return err
	}
	native, err := store.Native(ctx, "hello-c")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(native)
	if err != nil {
		return err
	}
	tar := filepath.Join(d.Dir, "image.tar")
	if out, err := exec.CommandContext(ctx, filepath.Join(bin, "wasmctl"), "pack", guest, "-t", contenders[0].image, "-o", tar).CombinedOutput(); err != nil {
		return fmt.Errorf("wasmctl pack: %w\n%s", err, out)
	}
	if err := d.ImportImage(ctx, tar); err != nil {
		return err
	}
	image := scratchimage.Image{
		Ref:        contenders[1].image,
		Files:      map[string][]byte{"/hello": program},
		Entrypoint: []string{"/hello"},
	}
	if err := image.Write(tar); err != nil {
		return err
	}
	return d.ImportImage(ctx, tar)
}

func report(contenders []*contender) {
	fmt.Printf("%-6s %8s %8s %8s  wall time of `ctr run --rm` in ms, %d runs each\n", "", "p50", "p90", "min", len(contenders[0].samples))
	for _, c := range contenders {
		s := slices.Sorted(slices.Values(c.samples))
		fmt.Printf("%-6s %8.1f %8.1f %8.1f\n", c.name, percentile(s, 50), percentile(s, 90), s[0])
	}
	ratios := make([]float64, len(contenders[0].samples))
	for i := range ratios {
		ratios[i] = contenders[0].samples[i] / contenders[1].samples[i]
	}
	slices.Sort(ratios)
	fmt.Printf("%s / %s, pair by pair: median %.2f, p10 %.2f, p90 %.2f\n", contenders[0].name, contenders[1].name,
		percentile(ratios, 50), percentile(ratios, 10), percentile(ratios, 90))
}

// percentile takes sorted samples.
func percentile(sorted []float64, p int) float64 { return sorted[(len(sorted)-1)*p/100] }

func writeSamples(file string, contenders []*contender) error {
	samples := make(map[string][]float64)
	for _, c := range contenders {
		samples[c.name] = c.samples
	}
	b, err := json.MarshalIndent(samples, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
