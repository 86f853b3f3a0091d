package cluster
import ("testing";"os";"context";"fmt";"time";"os/exec"
"github.com/wasmshim/containerd-shim-wasm/test/daemon"
"github.com/wasmshim/containerd-shim-wasm/test/cluster/node")
func TestMain(m *testing.M) {
	node.Stage()
	if !node.Inside() {
		p, err := daemon.NewPlace()
		if err != nil { panic(err) }
		t0 := time.Now()
		code, err := node.Run(context.Background(), node.Config{Dir: p.Dir, Env: append(os.Environ(), p.Mark())})
		fmt.Println("ran", code, err, time.Since(t0))
		fmt.Println(p.Remove(context.Background()))
		os.Exit(code)
	}
	os.Exit(m.Run())
}
func TestX(t *testing.T) {
	out, err := exec.Command("sh","-c","ps -ef; mount | grep -E 'cgroup|overlay|/run|proc'; cat /proc/self/cgroup; ip a; hostname").CombinedOutput()
	t.Logf("%s %v", out, err)
}
