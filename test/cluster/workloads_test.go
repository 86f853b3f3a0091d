package cluster

import "testing"

func TestPodRuns(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers: [{name: c, image: PROBE, args: [hello]}]
`)
	s.ended("p")
	contains(t, s.log("p", "c"), "hello from probe-c")
}
