package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// podContender is one way to hold a Pod: a handler of CRI.
type podContender struct {
	name, handler string
	shared        bool // one pid namespace for the Pod
	// samples are the times of RunPodSandbox in milliseconds.
	samples []float64
	// pod is the PSS of all processes of a Pod without containers, holder that of
	// the process that holds its namespaces, in KiB.
	pod, holder []float64
}

const pauseImage = "localhost/pause:1"

// benchPods measures Pods without containers and in the host's network, since that
// of CNI costs the same whoever holds it.
func benchPods(ctx context.Context, bin string, runs int) (err error) {
	contenders := []*podContender{
		{name: "no pause", handler: "wasm-sandbox"},
		{name: "no pause, one pid namespace", handler: "wasm-sandbox", shared: true},
		{name: "pause held by the shim", handler: "wasm"},
		{name: "pause in runc", handler: "runc"},
	}
	store, err := provision.Open(os.Stderr)
	if err != nil {
		return err
	}
	d, err := startForPods(ctx, store, bin)
	if err != nil {
		return err
	}
	defer func() {
		_, stopErr := d.Stop(context.Background())
		err = errors.Join(err, stopErr)
	}()
	conn, err := grpc.NewClient("unix://"+d.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := cri.NewRuntimeServiceClient(conn)
	const warmUp = 2
	for i := range runs + warmUp {
		for _, c := range contenders {
			if err := c.measure(ctx, d, client, i, i >= warmUp); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		fmt.Fprintf(os.Stderr, "\r%d of %d", i+1, runs+warmUp)
	}
	fmt.Fprintln(os.Stderr)
	reportPods(contenders)
	return nil
}

func startForPods(ctx context.Context, store *provision.Store, bin string) (*daemon.Daemon, error) {
	containerd, err := store.Containerd(ctx, "2.4")
	if err != nil {
		return nil, err
	}
	runc, err := store.Runc(ctx)
	if err != nil {
		return nil, err
	}
	pause, err := store.Pause(ctx)
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(pause)
	if err != nil {
		return nil, err
	}
	d, err := daemon.StartCRI(ctx, "2.4", daemon.Programs{Containerd: containerd, Runc: runc, Shim: bin}, pauseImage)
	if err != nil {
		return nil, err
	}
	tar := filepath.Join(d.Dir, "work", "pause.tar")
	err = scratchimage.Image{Ref: pauseImage, Files: map[string][]byte{"/pause": program}, Entrypoint: []string{"/pause"}}.Write(tar)
	if err == nil {
		if r := d.Ctr(ctx, "--namespace", daemon.CRINamespace, "images", "import", tar); r.Code != 0 {
			err = fmt.Errorf("import the pause image: %s", r.Stderr)
		}
	}
	if err != nil {
		_, stopErr := d.Stop(ctx)
		return nil, errors.Join(err, stopErr)
	}
	return d, nil
}

func (c *podContender) measure(ctx context.Context, d *daemon.Daemon, client cri.RuntimeServiceClient, run int, counts bool) error {
	options := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	if c.shared {
		options.Pid = cri.NamespaceMode_POD
	}
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "pod", Uid: c.name + strconv.Itoa(run), Namespace: "default"},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    "/" + d.Namespace,
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: options},
		},
	}
	began := time.Now()
	r, err := client.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: c.handler})
	took := time.Since(began)
	if err != nil {
		return err
	}
	if counts {
		c.samples = append(c.samples, float64(took.Microseconds())/1000)
		if err := c.weigh(d); err != nil {
			return err
		}
	}
	if _, err := client.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: r.PodSandboxId}); err != nil {
		return err
	}
	_, err = client.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: r.PodSandboxId})
	return err
}

// weigh adds up the processes of the only Pod.
func (c *podContender) weigh(d *daemon.Daemon) error {
	pids, err := d.Scope().Processes()
	if err != nil {
		return err
	}
	pod, holder := 0.0, 0.0
	for _, pid := range pids {
		kib, err := pss(pid)
		if errors.Is(err, os.ErrNotExist) || pid == d.Pid() {
			continue
		}
		if err != nil {
			return err
		}
		pod += kib
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.TrimSpace(string(comm)) == "pause" {
			holder += kib
		}
	}
	c.pod, c.holder = append(c.pod, pod), append(c.holder, holder)
	return nil
}

// pss is the proportional set size of a process in KiB.
func pss(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "Pss:" {
			return strconv.ParseFloat(string(f[1]), 64)
		}
	}
	return 0, nil // it is about to end
}

func reportPods(contenders []*podContender) {
	fmt.Printf("%-28s %8s %8s %8s %10s %10s  RunPodSandbox in ms, PSS in KiB, %d Pods each\n", "", "p50", "p90", "/ runc", "Pod", "its pause", len(contenders[0].samples))
	reference := contenders[len(contenders)-1]
	for _, c := range contenders {
		ratios := make([]float64, len(c.samples))
		for i := range ratios {
			ratios[i] = c.samples[i] / reference.samples[i]
		}
		median := func(s []float64) float64 { return percentile(slices.Sorted(slices.Values(s)), 50) }
		s := slices.Sorted(slices.Values(c.samples))
		fmt.Printf("%-28s %8.1f %8.1f %8.2f %10.0f %10.0f\n", c.name, percentile(s, 50), percentile(s, 90), median(ratios), median(c.pod), median(c.holder))
	}
}
