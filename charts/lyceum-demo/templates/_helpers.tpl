{{/* [registry/]repository[:tag][@digest] of the loader. */}}
{{- define "lyceum-demo.loaderImage" -}}
{{- with .Values.images.loader.registry | default .Values.images.registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- .Values.images.loader.repository -}}
{{- if .Values.images.loader.tag }}:{{ .Values.images.loader.tag }}{{ else if not .Values.images.loader.digest }}:{{ .Chart.AppVersion }}{{ end -}}
{{- with .Values.images.loader.digest }}@{{ . }}{{ end -}}
{{- end -}}
