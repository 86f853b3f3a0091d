package kind

const mixedPod = `
apiVersion: v1
kind: Pod
metadata: {name: mixed}
spec:
  runtimeClassName: wasm
  terminationGracePeriodSeconds: 2
  containers:
  - name: wasm
    image: localhost/web:wasm
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
    resources: {limits: {memory: 64Mi, cpu: 500m}}
  - name: linux
    image: localhost/busybox:1
    command: [/bin/busybox, sh, -c, 'echo from the sidecar > /tmp/index.html; exec httpd -f -p 8081 -h /tmp']
    resources: {limits: {memory: 32Mi}}
`

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      runtimeClassName: wasm
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: localhost/web:wasm
        env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

const trap = `
apiVersion: v1
kind: Pod
metadata: {name: trap}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers: [{name: trap, image: "localhost/web:wasm", command: [/tools/probe.wasm, trap, unreachable]}]
`

const linuxPod = `
apiVersion: v1
kind: Pod
metadata: {name: linux}
spec:
  restartPolicy: Never
  containers: [{name: linux, image: "localhost/busybox:1", command: [/bin/busybox, uname]}]
`
