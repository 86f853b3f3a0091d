package sandbox

import (
	"os/exec"
	"testing"
)

// BenchmarkSandbox builds the sandbox of `ctr run` around the test binary,
// which then prints nothing and ends; BenchmarkPlain starts the same binary
// twice, as init and program are two starts. The difference is what the sandbox
// costs.
func BenchmarkSandbox(b *testing.B) {
	s := &sandboxTest{rootfs: newRootfs(b), holes: true}
	c, err := FromSpec(ctrSpec(), s.rootfs, []string{"wasm-runner", "nothing"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.spawn(b, c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUserNamespace is BenchmarkSandbox with a new user namespace, which
// takes one start more.
func BenchmarkUserNamespace(b *testing.B) {
	s := &sandboxTest{rootfs: remapped(b), holes: true}
	spec := ctrSpec()
	inUserNamespace(spec)
	c, err := FromSpec(spec, s.rootfs, []string{"wasm-runner", "nothing"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.spawn(b, c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlain(b *testing.B) {
	for b.Loop() {
		for range 2 {
			cmd := exec.Command("/proc/self/exe", "nothing")
			cmd.Env = []string{"GOGC=off", "GOMAXPROCS=1"}
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
