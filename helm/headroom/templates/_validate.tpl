{{/* Values that no server could work with. Each is refused with what to do about it. */}}
{{- define "headroom.validate" -}}
{{- include "headroom.validateLog" . -}}
{{- include "headroom.validateCallers" . -}}
{{- include "headroom.validateTest" . -}}
{{- include "headroom.validateSink" . -}}
{{- include "headroom.validateVariables" . -}}
{{- include "headroom.validateObjects" . -}}
{{- end -}}

{{- define "headroom.validateLog" -}}
{{- $settings := .Values.settings -}}
{{- $files := .Values.files -}}
{{- if .Values.embedded.enabled -}}
  {{- if $settings.kafka_brokers -}}
    {{- fail "embedded.enabled and settings.kafka_brokers exclude each other: a log is in a data directory, or on a cluster" -}}
  {{- end -}}
  {{- if ne (int .Values.replicas) 1 -}}
    {{- fail "embedded.enabled needs replicas: 1, because one process alone may write the log" -}}
  {{- end -}}
  {{- if .Values.gateways.enabled -}}
    {{- fail "gateways.enabled needs a log on a cluster: without one there is nothing that two processes could share" -}}
  {{- end -}}
  {{- if .Values.strimzi.enabled -}}
    {{- fail "strimzi.enabled needs a log on a cluster: set settings.kafka_brokers instead of embedded.enabled" -}}
  {{- end -}}
{{- else -}}
  {{- if not $settings.kafka_brokers -}}
    {{- fail "settings.kafka_brokers is missing: name the brokers of the cluster that carries the log, or set embedded.enabled" -}}
  {{- end -}}
  {{- if hasPrefix "sasl" ($settings.kafka_security_protocol | default "") -}}
    {{- if not $files.kafka_sasl_password_file -}}
      {{- fail "files.kafka_sasl_password_file is missing: name the Secret and the key that hold the password of settings.kafka_sasl_username" -}}
    {{- end -}}
    {{- if and .Values.topics.enabled (not .Values.topics.settings.kafka_sasl_username) -}}
      {{- fail "topics.settings.kafka_sasl_username is missing: the Job that makes topics has a user of its own, so that the servers' user need not be able to; name the same user if there is only one" -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "headroom.validateCallers" -}}
{{- $files := .Values.files -}}
{{- $auth := .Values.settings.auth | default "" -}}
{{- if not $auth -}}
  {{- fail "settings.auth is missing: the servers listen on the network of the cluster, so say how callers prove who they are (tokens, oidc, certificates), or write none to serve whoever can connect" -}}
{{- end -}}
{{- if and (contains "tokens" $auth) (not $files.tokens_file) -}}
  {{- fail "files.tokens_file is missing: settings.auth lists tokens, so name the Secret with the file that headroom tokens has written" -}}
{{- end -}}
{{- if contains "certificates" $auth -}}
  {{- range $name := list "certificates_file" "tls_client_ca" "tls_certificate" -}}
    {{- if not (get $files $name) -}}
      {{- printf "files.%s is missing: settings.auth lists certificates, which are checked in the handshake of TLS and mapped to callers by a file" $name | fail -}}
    {{- end -}}
  {{- end -}}
{{- else if $files.tls_client_ca -}}
  {{- fail "files.tls_client_ca protects nothing as long as settings.auth does not list certificates: the probes of Kubernetes show none, so nobody is turned away for showing none" -}}
{{- end -}}
{{- range $one, $other := dict "tls_certificate" "tls_key" "tls_key" "tls_certificate" -}}
  {{- if and (get $files $one) (not (get $files $other)) -}}
    {{- printf "files.%s is missing: files.%s is of no use without it" $other $one | fail -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "headroom.validateTest" -}}
{{- $shown := .Values.test.files -}}
{{- if and $shown.token_file (eq (include "headroom.scheme" .) "http") -}}
  {{- fail "test.files.token_file needs TLS: a token travels to another machine only over https, so set files.tls_certificate and files.tls_key" -}}
{{- end -}}
{{- range $one, $other := dict "certificate" "certificate_key" "certificate_key" "certificate" -}}
  {{- if and (get $shown $one) (not (get $shown $other)) -}}
    {{- printf "test.files.%s is missing: test.files.%s is of no use without it" $other $one | fail -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "headroom.validateSink" -}}
{{- if .Values.sink.enabled -}}
  {{- if .Values.embedded.enabled -}}
    {{- fail "sink.enabled needs a log on a cluster: the sink of an embedded log reads the data directory of its server, so run headroom sink on the machine of the server" -}}
  {{- end -}}
  {{- $settings := mergeOverwrite (deepCopy .Values.settings) .Values.sink.settings -}}
  {{- $files := merge (dict) .Values.sink.files .Values.files -}}
  {{- if not (or $settings.sink_database $settings.sink_files) -}}
    {{- fail "sink.settings.sink_database is missing: name the database that the events go into, or a bucket in sink_files" -}}
  {{- end -}}
  {{- if and $settings.sink_database (not $files.sink_database_ca) -}}
    {{- fail "sink.files.sink_database_ca is missing: a database on another machine is reached over TLS only, so name the authorities that sign its certificate" -}}
  {{- end -}}
  {{- if hasPrefix "file:" ($settings.sink_files | default "") -}}
    {{- fail "sink.settings.sink_files is a folder, which would end with its pod: name a bucket, like s3://BUCKET/PREFIX" -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "headroom.validateVariables" -}}
{{- range $path, $variables := dict "buckets" .Values.buckets "proxy" .Values.proxy "sink.buckets" .Values.sink.buckets -}}
{{- range $name, $value := $variables.env -}}
  {{- if or (regexMatch "SECRET|PASSWORD|(TOKEN|KEY)$" $name) (regexMatch "://[^/]*@" $value) -}}
    {{- fail (printf "%s.env.%s is a secret: name the Secret and the key that hold it in %s.secretEnv" $path $name $path) -}}
  {{- end -}}
  {{- if hasKey $variables.secretEnv $name -}}
    {{- fail (printf "%s.env and %s.secretEnv both have %s: leave one of them out" $path $path $name) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "headroom.validateObjects" -}}
{{- $monitoring := .Values.monitoring -}}
{{- if and .Values.gateways.autoscaling.enabled (not .Values.gateways.enabled) -}}
  {{- fail "gateways.autoscaling.enabled needs gateways.enabled: owners are not scaled by load, because each change moves partitions" -}}
{{- end -}}
{{- $resources := .Values.gateways.resources | default .Values.resources -}}
{{- /* A limit without a request is the request as well. */ -}}
{{- if and .Values.gateways.autoscaling.enabled (not (or (dig "requests" "cpu" "" $resources) (dig "limits" "cpu" "" $resources))) -}}
  {{- fail "gateways.resources.requests.cpu is missing: gateways.autoscaling.targetCPU is a percentage of it" -}}
{{- end -}}
{{- with .Values.gateways.autoscaling -}}
  {{- if gt (int .minReplicas) (int .maxReplicas) -}}
    {{- fail "gateways.autoscaling.minReplicas is more than gateways.autoscaling.maxReplicas" -}}
  {{- end -}}
{{- end -}}
{{- if $monitoring.serviceMonitor.enabled -}}
  {{- if not (or (eq .Values.settings.auth "none") (contains "metrics" (.Values.settings.open | default "")) $monitoring.serviceMonitor.token) -}}
    {{- fail "monitoring.serviceMonitor.token is missing: callers of /metrics need the role metrics; name the Secret of such a token, or open the page with settings.open: metrics" -}}
  {{- end -}}
{{- end -}}
{{- if and (or $monitoring.serviceMonitor.enabled $monitoring.rules.enabled) (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
  {{- fail "monitoring.serviceMonitor and monitoring.rules need the Prometheus operator: this cluster does not know monitoring.coreos.com/v1" -}}
{{- end -}}
{{- if .Values.strimzi.enabled -}}
  {{- range $name := list "partitions" "kafka_replication" "kafka_min_in_sync" -}}
    {{- if not (get $.Values.settings $name) -}}
      {{- printf "settings.%s is missing: strimzi.enabled makes the topics, and needs the number" $name | fail -}}
    {{- end -}}
  {{- end -}}
  {{- if not .Values.strimzi.cluster -}}
    {{- fail "strimzi.cluster is missing: give the name of the Kafka object to which the topics and users belong" -}}
  {{- end -}}
  {{- if not (include "headroom.strimziVersion" .) -}}
    {{- fail "strimzi.enabled needs Strimzi: this cluster does not know kafka.strimzi.io/v1" -}}
  {{- end -}}
{{- end -}}
{{- end -}}
