{{- define "shim.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "shim.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "shim.selector" . }}
{{- end }}

{{- define "shim.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* `--set image.tag=20261128` is a number, and a float64 once it was stored in a release. */}}
{{- define "shim.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion }}
{{- .Values.image.repository }}:{{ if kindIs "float64" $tag }}{{ int64 $tag }}{{ else }}{{ $tag }}{{ end }}
{{- end }}

{{/* The flags of the installer that say what a node is. */}}
{{- define "shim.flags" -}}
- --host-root=/host
- --handler={{ .Values.handler }}
- --prefix={{ .Values.node.prefix }}
- --state={{ .Values.node.state }}
{{- range $flag, $value := dict "layout" .Values.node.layout "config" .Values.node.config "containerd" .Values.node.containerd "socket" .Values.node.socket "unit" .Values.node.unit "restart-command" .Values.node.restartCommand }}
{{- with $value }}
- {{ printf "--%s=%s" $flag . | quote }}
{{- end }}
{{- end }}
{{- range $key, $value := .Values.options }}
- {{ printf "--option=%s=%v" $key $value | quote }}
{{- end }}
{{- end }}
