package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where and with what a run was made. Load is the average of a
// minute, before and after.
type machine struct {
	CPU                   string
	CPUs                  int
	Kernel, Go            string
	Containerd            string
	Commit                string
	LoadBefore, LoadAfter string
}

func describeMachine(containerd string) machine {
	m := machine{CPU: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Containerd: containerd, LoadBefore: load()}
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
	commit, _ := exec.Command("git", "describe", "--always", "--dirty").Output()
	m.Commit = strings.TrimSpace(string(commit))
	return m
}

func (m *machine) finish() { m.LoadAfter = load() }

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func (m machine) String() string {
	return fmt.Sprintf("%d x %s, Linux %s, containerd %s, %s, commit %s; load %s before and %s after.",
		m.CPUs, m.CPU, m.Kernel, m.Containerd, m.Go, m.Commit, m.LoadBefore, m.LoadAfter)
}
