package kind

import (
	"strings"
	"testing"
)

const (
	runtimeConfig = "/etc/containerd/config.toml"
	shimDirectory = "/opt/containerd-shim-wasm"
	shimState     = "/var/lib/containerd-shim-wasm"
	readyLabel    = `{.items[0].metadata.labels.io\.containerd\.wasm\.v1/ready}`
)

// What the owner of a kind cluster does, from the first command to the last, as
// docs/install.md has them. Each step needs those before it.
func TestTheShimOnKind(t *testing.T) {
	o := &owner{t}
	untouched := o.onNode("cat", runtimeConfig)
	controlPlane := o.restarts("kube-system")

	o.step("the installer's image is loaded", func(o *owner) {
		o.does("kind", "load", "image-archive", theCluster.programs.Image, "--name", theCluster.Name)
	})
	o.step("helm installs the chart and waits until the node is ready", func(o *owner) {
		daemon := o.daemonProcess()
		o.does("helm", "-n", "wasm-system", "install", "wasm", "charts/containerd-shim-wasm", "--create-namespace",
			"--set", "image.tag=dev", "--wait", "--timeout", "4m")
		o.rolledOut()
		o.contains(o.does("kubectl", "get", "nodes", "-o", "jsonpath="+readyLabel), "true")
		o.contains(o.onNode("cat", runtimeConfig), strings.TrimSpace(untouched), `runtime_type = 'io.containerd.wasm.v1'`, "SystemdCgroup = true")
		if o.daemonProcess() == daemon {
			o.t.Error("systemd has not restarted containerd")
		}
		if now := o.restarts("kube-system"); now != controlPlane {
			o.t.Errorf("the restart of containerd changed the control plane:\n%s\n%s", controlPlane, now)
		}
	})
	o.step("helm tests the release", func(o *owner) {
		o.contains(o.does("helm", "-n", "wasm-system", "test", "wasm", "--logs", "--timeout", "2m"), "Succeeded", "WebAssembly runs on this node")
	})
	o.step("the users' images are loaded", func(o *owner) { o.loadImages() })
	o.step("a Wasm and a Linux container of a Pod talk over the loopback", func(o *owner) {
		o.apply(mixedPod)
		o.ready("pod/mixed")
		o.contains(o.does("kubectl", "exec", "mixed", "-c", "linux", "--", "wget", "-qO-", "http://localhost:8080/"), "hello from web (wasm)")
		o.contains(o.does("kubectl", "exec", "mixed", "-c", "linux", "--", "wget", "-qO-", "http://localhost:8080/call/localhost:8081/"), "from the sidecar")
	})
	o.step("a Service finds the Pods of a Deployment by its name", func(o *owner) {
		o.apply(deployment)
		o.does("kubectl", "rollout", "status", "deployment/web", "--timeout=90s")
		o.contains(o.does("kubectl", "exec", "mixed", "-c", "linux", "--", "wget", "-qO-", "http://web.default.svc.cluster.local/"), "hello from web-", "(wasm)")
		// A guest resolves it, too.
		o.contains(o.does("kubectl", "exec", "mixed", "-c", "linux", "--", "wget", "-qO-", "http://localhost:8080/call/web.default.svc.cluster.local:80/"), "hello from web-")
	})
	o.step("kubectl shows logs and runs modules in a container", func(o *owner) {
		o.does("kubectl", "exec", "mixed", "-c", "linux", "--", "wget", "-qO-", "http://localhost:8080/log/a-line")
		o.contains(o.does("kubectl", "logs", "mixed", "-c", "wasm"), "a-line")
		o.contains(o.does("kubectl", "exec", "mixed", "-c", "wasm", "--", "/tools/probe.wasm", "args", "one", "two"), "one", "two")
	})
	o.step("kubectl describes a trap", func(o *owner) {
		o.apply(trap)
		o.does("kubectl", "wait", "pod/trap", "--for=jsonpath={.status.phase}=Failed", "--timeout=90s")
		o.contains(o.does("kubectl", "describe", "pod", "trap"), "Exit Code:    134", "unreachable")
	})
	o.step("an upgrade leaves running Pods alone", func(o *owner) {
		daemon, before := o.daemonProcess(), o.restarts("default")
		o.does("helm", "-n", "wasm-system", "upgrade", "wasm", "charts/containerd-shim-wasm", "--reuse-values",
			"--set", "options.MemoryLimit=64Mi", "--wait", "--timeout", "4m")
		o.rolledOut()
		o.contains(o.onNode("cat", runtimeConfig), `MemoryLimit = '64Mi'`)
		if o.daemonProcess() == daemon {
			o.t.Error("systemd has not restarted containerd")
		}
		if now := o.restarts("default"); now != before {
			o.t.Errorf("the Pods were\n%s\nand are\n%s", before, now)
		}
		o.contains(o.does("kubectl", "exec", "mixed", "-c", "linux", "--", "wget", "-qO-", "http://localhost:8080/"), "hello")
		o.does("kubectl", "rollout", "restart", "deployment/web")
		o.does("kubectl", "rollout", "status", "deployment/web", "--timeout=90s")
	})
	o.step("nothing is removed while Wasm Pods run", func(o *owner) {
		out, err := o.tries("helm", "-n", "wasm-system", "uninstall", "wasm", "--wait", "--timeout", "2m")
		if err == nil {
			o.t.Fatalf("helm uninstalled it:\n%s", out)
		}
		o.contains(o.does("kubectl", "-n", "wasm-system", "logs", "job/wasm-uninstall"), `handler "wasm" runs Pods on this node`, "default/")
		o.does("helm", "-n", "wasm-system", "status", "wasm")
		o.contains(o.does("kubectl", "exec", "mixed", "-c", "linux", "--", "wget", "-qO-", "http://localhost:8080/"), "hello")
	})
	o.step("helm uninstall leaves the node as it was", func(o *owner) {
		o.does("kubectl", "delete", "deployment/web", "pod/mixed", "pod/trap", "--wait")
		o.does("kubectl", "wait", "pod", "-l", "app=web", "--for=delete", "--timeout=90s")
		o.does("helm", "-n", "wasm-system", "uninstall", "wasm", "--wait", "--timeout", "4m")
		if now := o.onNode("cat", runtimeConfig); now != untouched {
			o.t.Errorf("%s was\n%s\nand is\n%s", runtimeConfig, untouched, now)
		}
		for _, path := range []string{shimDirectory, shimState} {
			if out, err := theCluster.OnNode(theRun, "ls", "-R", path); err == nil {
				o.t.Errorf("%s is left:\n%s", path, out)
			}
		}
		if out := o.onNode("ps", "ax", "-o", "comm"); strings.Contains(out, "wasm") {
			o.t.Errorf("a process is left:\n%s", out)
		}
		if label := o.does("kubectl", "get", "nodes", "-o", "jsonpath="+readyLabel); label != "" {
			o.t.Errorf("the node has the label %q", label)
		}
		if out := o.does("kubectl", "get", "runtimeclasses", "-o", "name"); out != "" {
			o.t.Errorf("there is %s", out)
		}
	})
	o.step("Linux Pods run as ever", func(o *owner) {
		o.apply(linuxPod)
		o.does("kubectl", "wait", "pod/linux", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
		o.contains(o.does("kubectl", "logs", "linux"), "Linux")
	})
}
