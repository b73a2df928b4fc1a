{{- define "headroom.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "headroom.common" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
{{- end -}}

{{/* By these a Service, a policy or a controller finds the servers, and no pod of a Job or of a test. */}}
{{- define "headroom.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "headroom.labels" -}}
{{ include "headroom.common" . }}
app.kubernetes.io/name: {{ .Chart.Name }}
{{- end -}}

{{- define "headroom.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The pods that take calls. */}}
{{- define "headroom.callers" -}}
{{- ternary "gateway" "owner" .Values.gateways.enabled -}}
{{- end -}}

{{- define "headroom.scheme" -}}
{{- ternary "https" "http" (hasKey .Values.files "tls_certificate") -}}
{{- end -}}

{{/* The address of the Service. */}}
{{- define "headroom.url" -}}
{{- printf "%s://%s.%s.svc:%v" (include "headroom.scheme" .) (include "headroom.name" .) .Release.Namespace .Values.service.port -}}
{{- end -}}

{{/* How long a shutdown takes at most, in seconds: LEAVE_MS and SHUTDOWN_MS of src/limits.rs. Then the process ends itself. */}}
{{- define "headroom.shutdownSeconds" -}}21{{- end -}}

{{/* The path of a file: {secret: NAME, key: KEY} or {configMap: NAME, key: KEY}. */}}
{{- define "headroom.path" -}}
{{- if .secret -}}
/etc/headroom/secret/{{ .secret }}/{{ .key }}
{{- else -}}
/etc/headroom/config-map/{{ .configMap }}/{{ .key }}
{{- end -}}
{{- end -}}

{{/* The name of a volume has no dots, and 63 characters at most. The hash tells a.b from a-b. */}}
{{- define "headroom.volumeName" -}}
{{- $name := printf "%s-%s" (ternary "secret" "config-map" (hasKey . "secret")) (.secret | default .configMap) -}}
{{- if contains "." $name -}}
{{- printf "%s-%s" ($name | replace "." "-" | trunc 54) (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* A volume for each Secret and ConfigMap of a list of files, with the keys that are named and no others. */}}
{{- define "headroom.fileVolumes" -}}
{{- $keys := dict -}}
{{- $files := dict -}}
{{- range . -}}
{{- $name := include "headroom.volumeName" . -}}
{{- $_ := set $keys $name (append (get $keys $name | default list) .key | uniq | sortAlpha) -}}
{{- $_ := set $files $name . -}}
{{- end -}}
{{- range $name, $file := $files }}
- name: {{ $name }}
  {{- if $file.secret }}
  secret:
    secretName: {{ $file.secret }}
  {{- else }}
  configMap:
    name: {{ $file.configMap }}
  {{- end }}
    # 0440: for the group of the process, which is not the owner.
    defaultMode: 288
    items:
      {{- range get $keys $name }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "headroom.fileMounts" -}}
{{- $paths := dict -}}
{{- range . -}}
{{- $_ := set $paths (include "headroom.volumeName" .) (include "headroom.path" . | dir) -}}
{{- end -}}
{{- range $name, $path := $paths }}
- name: {{ $name }}
  mountPath: {{ $path }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* Variables of a process: `proxy`, `buckets`, or those of the sink. */}}
{{- define "headroom.variables" -}}
{{- range $name, $value := .env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := .secretEnv }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.secret }}
      key: {{ $from.key }}
{{- end }}
{{- end -}}

{{- define "headroom.podSecurity" -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with get ($.Values.podSecurityContext | default dict) $name }}
{{ $name }}: {{ int64 . }}
{{- end }}
{{- end }}
# A volume that has the right owner already is not walked through again.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "headroom.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What the pods of a Job or a test ask for. They run for seconds. */}}
{{- define "headroom.smallResources" -}}
requests:
  cpu: 50m
  memory: 64Mi
limits:
  memory: 512Mi
{{- end -}}
