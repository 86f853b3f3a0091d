package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where and with what a run was made. Load is the average of a
// minute, before and after.
type machine struct {
	CPU                   string
	CPUs                  int
	MemoryMiB             uint64
	Kernel, Go            string
	Containerd            string
	Runc, Crun, Wazero    string
	Commit                string
	Full                  bool
	Began                 time.Time
	Minutes               float64
	LoadBefore, LoadAfter string
}

func describeMachine(ctx context.Context, b *bench) machine {
	m := machine{CPU: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Containerd: b.version, Full: b.full,
		Began: time.Now().UTC().Truncate(time.Second), LoadBefore: load()}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = string(bytes.TrimRight(name.Release[:], "\x00"))
	}
	var system unix.Sysinfo_t
	if unix.Sysinfo(&system) == nil {
		m.MemoryMiB = uint64(system.Totalram) * uint64(system.Unit) >> 20
	}
	if dir, err := b.store.Runc(ctx); err == nil {
		m.Runc = strings.Replace(firstLine(filepath.Join(dir, "runc"), "--version"), " version ", " ", 1)
	}
	if path, err := b.store.Crun(ctx); err == nil {
		m.Crun = strings.Replace(firstLine(path, "--version"), " version ", " ", 1)
	}
	m.Commit = firstLine("git", "describe", "--always", "--dirty")
	mod, _ := os.ReadFile(filepath.Join(b.store.Checkout, "go.mod"))
	for line := range strings.Lines(string(mod)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "github.com/tetratelabs/wazero" {
			m.Wazero = f[1]
		}
	}
	return m
}

// firstLine is what a program prints; empty if it cannot.
func firstLine(args ...string) string {
	out, _ := exec.Command(args[0], args[1:]...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

func (m *machine) finish(took time.Duration) {
	m.LoadAfter, m.Minutes = load(), took.Minutes()
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func (m machine) String() string {
	mode := "short"
	if m.Full {
		mode = "full"
	}
	return fmt.Sprintf("%d x %s, %d MiB, Linux %s; containerd %s, %s, %s, wazero %s, %s, commit %s; %s run of %.1f minutes on %s, load %s before and %s after.",
		m.CPUs, m.CPU, m.MemoryMiB, m.Kernel, m.Containerd, m.Runc, m.Crun, m.Wazero, m.Go, m.Commit,
		mode, m.Minutes, m.Began.Format(time.DateOnly), m.LoadBefore, m.LoadAfter)
}
