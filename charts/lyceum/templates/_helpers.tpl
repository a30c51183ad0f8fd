{{/* Base of every name: the release's, with the chart's name in it. */}}
{{- define "lyceum.fullname" -}}
{{- if contains "lyceum" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-lyceum" (.Release.Name | trunc 33 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "lyceum.operator" -}}
{{- printf "%s-operator" (include "lyceum.fullname" .) -}}
{{- end -}}

{{- define "lyceum.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "lyceum.operator" .) -}}
{{- end -}}

{{- define "lyceum.selector" -}}
app.kubernetes.io/name: lyceum
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* managed-by is Helm here; lyceum-operator marks what the operator makes. */}}
{{- define "lyceum.labels" -}}
{{ include "lyceum.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lyceum
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* [registry/]repository[:tag][@digest] of the image named by the second element. */}}
{{- define "lyceum.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.images (index . 1) -}}
{{- with $image.registry | default $root.Values.images.registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.tag }}:{{ $image.tag }}{{ else if not $image.digest }}:{{ $root.Chart.AppVersion }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}
