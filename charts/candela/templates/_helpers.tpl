{{/* Name of the operator's objects. */}}
{{- define "candela.operator" -}}
{{- printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that select the operator's pods, for ever. */}}
{{- define "candela.selector" -}}
app.kubernetes.io/name: candela-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "candela.labels" -}}
{{ include "candela.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: candela
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{/* Reference of the operator's image. */}}
{{- define "candela.operator.image" -}}
{{- $image := .Values.operator.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What the operator may do where it reconciles; each verb is one that it uses. */}}
{{- define "candela.rules" -}}
- apiGroups: [inference.candela.dev]
  resources: [inferenceservices]
  verbs: [get, list, watch]
- apiGroups: [inference.candela.dev]
  resources: [inferenceservices/status]
  verbs: [patch]
# For owner references that hold up a foreground deletion, where the API server checks those.
- apiGroups: [inference.candela.dev]
  resources: [inferenceservices/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
