{{/* The release's name as the beginning of a Service's name, which may have no dots and begins with a letter. */}}
{{- define "candela.base" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "candela-%s" $name }}{{ end -}}
{{- $name | trunc 53 | trimSuffix "-" -}}
{{- end }}

{{/* Name of the operator's objects. */}}
{{- define "candela.operator" -}}
{{- include "candela.base" . }}-operator
{{- end }}

{{/* Labels that select the operator's pods, for ever. */}}
{{- define "candela.selector" -}}
app.kubernetes.io/name: candela-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "candela.labels" -}}
{{ include "candela.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: candela
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | quote }}
{{- end }}

{{/* Labels of every object and further ones, which may not change those: (list ROOT FURTHER). */}}
{{- define "candela.labels.with" -}}
{{- toYaml (merge (include "candela.labels" (first .) | fromYaml) (last . | default dict)) }}
{{- end }}

{{/* Reference of an image: (list ROOT IMAGE). */}}
{{- define "candela.image" -}}
{{- $root := first . -}}
{{- $image := last . -}}
{{- with $root.Values.image.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
@{{ $image.digest }}
{{- else -}}
:{{ $image.tag | default (replace "+" "_" $root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* A duration of the schema's form in milliseconds. */}}
{{- define "candela.milliseconds" -}}
{{- mul (regexFind "^[0-9]+" .) (get (dict "ms" 1 "s" 1000 "m" 60000) (regexFind "[a-z]+$" .)) -}}
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
  verbs: [get, list, watch, create, patch, delete]
# Why a pod does not start.
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
