{{/* A container that runs one command with a configuration: (dict "context" $ "name" … "args" … "files" …), with
"resources" when it needs more than a little, and "buckets" when it reaches some. */}}
{{- define "headroom.command" -}}
{{- $root := .context -}}
{{- $files := concat .files (compact (list $root.Values.trust)) -}}
- name: {{ .name }}
  image: {{ include "headroom.image" $root }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: {{ toJson .args }}
  env:
    - name: HEADROOM_CONFIG
      value: /etc/headroom/headroom.toml
    {{- if $root.Values.trust }}
    - name: SSL_CERT_FILE
      value: {{ include "headroom.path" $root.Values.trust }}
    {{- end }}
    {{- range compact (list $root.Values.proxy .buckets) }}
    {{- with include "headroom.variables" . | trim }}{{- . | nindent 4 }}{{- end }}
    {{- end }}
  securityContext:
    {{- include "headroom.containerSecurity" $root | nindent 4 }}
  resources:
    {{- .resources | default (include "headroom.smallResources" $root | fromYaml) | toYaml | nindent 4 }}
  volumeMounts:
    - name: config
      mountPath: /etc/headroom/headroom.toml
      subPath: headroom.toml
      readOnly: true
    - name: data
      mountPath: /var/lib/headroom
    {{- /* `headroom verify` opens copies of checkpoints, and the root cannot be written. */}}
    - name: tmp
      mountPath: /tmp
    {{- with include "headroom.fileMounts" $files | trim }}{{- . | nindent 4 }}{{- end }}
{{- end -}}

{{/* The settings in the annotation of the pod itself. */}}
{{- define "headroom.ownSettings" -}}
downwardAPI:
  items:
    - path: headroom.toml
      fieldRef:
        fieldPath: metadata.annotations['headroom.toml']
{{- end -}}

{{/* The volumes of such commands: (dict "context" $ "files" …), with "config", the name of a ConfigMap, where the pod has no
settings of its own. */}}
{{- define "headroom.commandVolumes" -}}
- name: config
  {{- if .config }}
  configMap:
    name: {{ .config }}
  {{- else }}
  {{- include "headroom.ownSettings" .context | nindent 2 }}
  {{- end }}
- name: data
  {{- if .claim }}
  persistentVolumeClaim:
    claimName: {{ .claim }}
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir: {}
{{- with include "headroom.fileVolumes" (concat .files (compact (list .context.Values.trust))) | trim }}{{- . | nindent 0 }}{{- end }}
{{- end -}}
