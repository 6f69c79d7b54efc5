{{- /* Labels of every object. */ -}}
{{- define "rcache-worker.labels" -}}
app.kubernetes.io/name: rcache-worker
app.kubernetes.io/part-of: rcache
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
{{- define "rcache-worker.selector" -}}
app.kubernetes.io/name: rcache-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
