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

// podCase is one way to hold a Pod: a handler of CRI.
type podCase struct {
	name, handler string
	shared        bool // one pid namespace for the Pod
}

// inRunc is what the others are compared with.
var inRunc = podCase{name: "pause in runc", handler: "runc"}

const pauseImage = "localhost/pause:1"

// measurePods measures what holds a Pod: how long RunPodSandbox takes, and how
// much memory a Pod without containers. They are in the host's network, since that
// of CNI costs the same whoever holds it. It is on containerd 2.4, the first with
// Pods that need no pause container.
func measurePods(ctx context.Context, b *bench, rounds int) (_ []*figure, err error) {
	cases := []podCase{
		{name: "no pause", handler: "wasm-sandbox"},
		{name: "no pause, one pid namespace", handler: "wasm-sandbox", shared: true},
		{name: "pause held by the shim", handler: "wasm"},
	}
	d, err := startForPods(ctx, b.store, b.bin)
	if err != nil {
		return nil, err
	}
	defer func() {
		_, stopErr := d.Stop(context.Background())
		err = errors.Join(err, stopErr)
	}()
	conn, err := grpc.NewClient("unix://"+d.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := cri.NewRuntimeServiceClient(conn)
	var times, pods, holders []*figure
	for _, c := range cases {
		times = append(times, newFigure("pods", c.name, "RunPodSandbox", "ms", wasm, inRunc.name))
		pods = append(pods, newFigure("pods", c.name, "PSS of an empty Pod", "KiB", wasm, inRunc.name))
		holders = append(holders, newFigure("pods", c.name, "PSS of what holds its namespaces", "KiB", wasm, inRunc.name))
	}
	const warmUp = 2
	weighed := max(1, rounds/5) // rounds, the last ones; in the others nobody waits for that
	for i := range rounds + warmUp {
		for k, c := range append(slices.Clone(cases), inRunc) {
			took, pod, holder, err := c.measure(ctx, d, client, i, i >= rounds+warmUp-weighed)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if i < warmUp {
				continue
			}
			of, series := []int{k}, 0
			if c == inRunc {
				of, series = []int{0, 1, 2}, 1 // all are compared with it
			}
			for _, k := range of {
				times[k].add(series, milliseconds(took))
				if pod > 0 {
					pods[k].add(series, pod)
					holders[k].add(series, holder)
				}
			}
		}
		progress("pods", i+1, rounds+warmUp)
	}
	return slices.Concat(times, pods, holders), nil
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

// measure starts a Pod, weighs it if it is to once it has settled, and removes it.
func (c podCase) measure(ctx context.Context, d *daemon.Daemon, client cri.RuntimeServiceClient, round int, weighs bool) (took time.Duration, pod, holder float64, err error) {
	options := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	if c.shared {
		options.Pid = cri.NamespaceMode_POD
	}
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "pod", Uid: c.name + strconv.Itoa(round), Namespace: "default"},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    "/" + d.Namespace,
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: options},
		},
	}
	began := time.Now()
	r, err := client.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: c.handler})
	if err != nil {
		return 0, 0, 0, err
	}
	took = time.Since(began)
	if weighs {
		if err := waitFor(ctx, settle); err != nil {
			return 0, 0, 0, err
		}
		if pod, holder, err = weighPod(d); err != nil {
			return 0, 0, 0, err
		}
	}
	if _, err := client.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: r.PodSandboxId}); err != nil {
		return 0, 0, 0, err
	}
	_, err = client.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: r.PodSandboxId})
	return took, pod, holder, err
}

// weighPod adds up the PSS of the processes of the only Pod, in KiB, and of those
// of them that only hold its namespaces.
func weighPod(d *daemon.Daemon) (pod, holder float64, _ error) {
	pids, err := d.Scope().Processes()
	if err != nil {
		return 0, 0, err
	}
	for _, pid := range pids {
		kib, err := pss(pid)
		if errors.Is(err, os.ErrNotExist) || pid == d.Pid() {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		pod += kib
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.TrimSpace(string(comm)) == "pause" {
			holder += kib
		}
	}
	return pod, holder, nil
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
