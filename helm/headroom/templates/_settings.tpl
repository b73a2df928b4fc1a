{{/* Settings as TOML. Helm reads whole numbers of a file as floats. */}}
{{- define "headroom.toml" -}}
{{- range $name, $value := . }}
{{ $name }} = {{ if kindIs "string" $value }}{{ toJson $value }}{{ else if kindIs "bool" $value }}{{ $value }}{{ else }}{{ int64 $value }}{{ end }}
{{- end }}
{{- end -}}

{{/* The settings that name these files. */}}
{{- define "headroom.fileSettings" -}}
{{- range $name, $file := . }}
{{ $name }}: {{ include "headroom.path" $file | quote }}
{{- end }}
{{- end -}}

{{/* The names under which pods of the cluster call the two Services. */}}
{{- define "headroom.hosts" -}}
{{- $names := list -}}
{{- range $service := list (include "headroom.name" .) (printf "%s-pods" (include "headroom.name" .)) -}}
{{- $inside := printf "%s.%s" $service $.Release.Namespace -}}
{{- $names = concat $names (list $service $inside (printf "%s.svc" $inside) (printf "%s.svc.cluster.local" $inside)) -}}
{{- end -}}
{{- append $names .Values.settings.hosts | compact | join "," -}}
{{- end -}}

{{/* All settings of a server. */}}
{{- define "headroom.serverSettings" -}}
{{- $own := dict "listen" "0.0.0.0:8080" "data_dir" "/var/lib/headroom" "hosts" (include "headroom.hosts" .) -}}
{{- if .Values.files.tls_client_ca -}}
{{/* The kubelet shows no certificate when it probes. */}}
{{- $_ := set $own "tls_client_auth" "optional" -}}
{{- end -}}
{{- mergeOverwrite (deepCopy .Values.settings) (include "headroom.fileSettings" .Values.files | fromYaml) $own | toYaml -}}
{{- end -}}

{{- define "headroom.isOfCluster" -}}
{{- if or (regexMatch "^(kafka|registry|topic)_" .) (has . (list "application" "environment" "partitions" "snapshots" "snapshot_interval_ms" "log_format" "log_level")) -}}yes{{- end -}}
{{- end -}}

{{/* A sink has no snapshots, and so no setting that needs them. */}}
{{- define "headroom.isOfSink" -}}
{{- if or (hasPrefix "sink_" .) (and (not (regexMatch "^(snapshot|kafka_events_keep$)" .)) (include "headroom.isOfCluster" .)) -}}yes{{- end -}}
{{- end -}}

{{/* The files of the sink. */}}
{{- define "headroom.sinkFiles" -}}
{{- $files := dict -}}
{{- range $name, $file := merge (dict) .Values.sink.files .Values.files -}}
{{- if include "headroom.isOfSink" $name -}}
{{- $_ := set $files $name $file -}}
{{- end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* The settings of the sink. */}}
{{- define "headroom.sinkSettings" -}}
{{- $settings := dict "data_dir" "/var/lib/headroom" "sink_listen" "0.0.0.0:9090" "open" "metrics" -}}
{{- range $name, $value := mergeOverwrite (deepCopy .Values.settings) .Values.sink.settings -}}
{{- if and (include "headroom.isOfSink" $name) (ne $name "sink_listen") -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- end -}}
{{- merge $settings (include "headroom.sinkFiles" . | fromYaml | include "headroom.fileSettings" | fromYaml) | toYaml -}}
{{- end -}}

{{/* The files that connect to the cluster and the registry, of the Job for topics. */}}
{{- define "headroom.topicsFiles" -}}
{{- $files := dict -}}
{{- range $name, $file := merge (dict) .Values.topics.files .Values.files -}}
{{- if include "headroom.isOfCluster" $name -}}
{{- $_ := set $files $name $file -}}
{{- end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* The settings of that Job. */}}
{{- define "headroom.topicsSettings" -}}
{{- $settings := dict "data_dir" "/var/lib/headroom" -}}
{{- range $name, $value := mergeOverwrite (deepCopy .Values.settings) .Values.topics.settings -}}
{{- if include "headroom.isOfCluster" $name -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- end -}}
{{- merge $settings (include "headroom.topicsFiles" . | fromYaml | include "headroom.fileSettings" | fromYaml) | toYaml -}}
{{- end -}}
