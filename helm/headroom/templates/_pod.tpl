{{/* The pods of owners and of gateways: (dict "context" $ "component" "owner" "roles" "owner" "resources" …). */}}
{{- define "headroom.pod" -}}
{{- $root := .context -}}
{{- $values := $root.Values -}}
{{- $component := .component -}}
{{- $files := concat (values $values.files) (compact (list $values.trust)) -}}
metadata:
  labels:
    {{- include "headroom.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A pod that starts again, or a revision that comes back, has the settings that it was made with, as it has its image.
    headroom.toml: |
      {{- include "headroom.serverSettings" $root | fromYaml | include "headroom.toml" | trim | nindent 6 }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "headroom.name" $root }}
  automountServiceAccountToken: false
  # Variables about every service of the namespace say nothing to this process.
  enableServiceLinks: false
  # The wait before SIGTERM, then the shutdown, which ends itself, and some seconds for its last log line.
  terminationGracePeriodSeconds: {{ add $values.preStopSeconds (include "headroom.shutdownSeconds" $root) 4 }}
  securityContext:
    {{- include "headroom.podSecurity" $root | nindent 4 }}
  {{- $labels := printf "%s\napp.kubernetes.io/component: %s" (include "headroom.selector" $root) $component }}
  {{- include "headroom.placement" (dict "values" $values "labels" $labels) | trim | nindent 2 }}
  containers:
    - name: headroom
      image: {{ include "headroom.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [serve]
      env:
        # Also for commands in this pod, such as `kubectl exec POD -- headroom config`.
        - name: HEADROOM_CONFIG
          value: /etc/headroom/headroom.toml
        {{- with .roles }}
        - name: HEADROOM_ROLES
          value: {{ . }}
        {{- end }}
        {{- if $values.trust }}
        - name: SSL_CERT_FILE
          value: {{ include "headroom.path" $values.trust }}
        {{- end }}
        {{- range list $values.proxy $values.buckets }}
        {{- with include "headroom.variables" . | trim }}{{- . | nindent 8 }}{{- end }}
        {{- end }}
      ports:
        - name: {{ include "headroom.scheme" $root }}
          containerPort: 8080
      startupProbe:
        httpGet:
          {{- include "headroom.probe" (dict "context" $root "path" "/startupz") | nindent 10 }}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: {{ div (add $values.startupSeconds 1) 2 }}
      readinessProbe:
        httpGet:
          {{- include "headroom.probe" (dict "context" $root "path" "/readyz") | nindent 10 }}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      livenessProbe:
        httpGet:
          {{- include "headroom.probe" (dict "context" $root "path" "/livez") | nindent 10 }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $values.preStopSeconds }}
      securityContext:
        {{- include "headroom.containerSecurity" $root | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/headroom/headroom.toml
          subPath: headroom.toml
          readOnly: true
        - name: data
          mountPath: /var/lib/headroom
        {{- with include "headroom.fileMounts" $files | trim }}{{- . | nindent 8 }}{{- end }}
  volumes:
    - name: config
      {{- include "headroom.ownSettings" $root | nindent 6 }}
    {{- if not .hasClaim }}
    - name: data
      emptyDir:
        sizeLimit: {{ $values.storage.size }}
    {{- end }}
    {{- with include "headroom.fileVolumes" $files | trim }}{{- . | nindent 4 }}{{- end }}
{{- end -}}

{{/* Which nodes a pod runs on, and how its image comes there, by the values. */}}
{{- define "headroom.nodes" -}}
{{- with .imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where pods with these labels run: (dict "values" … "labels" …). */}}
{{- define "headroom.placement" -}}
{{- with include "headroom.nodes" .values | trim }}{{- . | nindent 0 }}{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "headroom.probe" -}}
path: {{ .path }}
port: {{ include "headroom.scheme" .context }}
scheme: {{ include "headroom.scheme" .context | upper }}
{{- end -}}
