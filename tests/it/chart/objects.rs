//! What must hold of every object that the chart makes.

use headroom::config::Setting;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Variables that the chart sets and that are no settings: the file of settings, what OpenSSL and rustls trust, and proxies.
const VARIABLES: &[&str] = &["HEADROOM_CONFIG", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];

/// The elements of an array; none where there is no array.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What an object is called in messages.
pub(super) fn name(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The pod that an object makes, with its metadata.
pub(super) fn pod(object: &Value) -> Option<&Value> {
    match text(&object["kind"]) {
        "Pod" => Some(object),
        "StatefulSet" | "Deployment" | "Job" => Some(&object["spec"]["template"]),
        _ => None,
    }
}

/// Whether labels are among others.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().expect("a selector");
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

/// Everything that is wrong with the objects of one release.
pub(super) fn faults(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    for object in objects {
        let named = name(object);
        let mut find = |what: String| found.push(format!("{named}: {what}"));
        if !names.insert(named.clone()) {
            find("is made twice".to_owned());
        }
        if object["kind"] == "Secret" {
            find("the chart must make no Secret".to_owned());
        }
        if text(&object["metadata"]["name"]).len() > 63 {
            find("its name is too long".to_owned());
        }
        if let Some(pod) = pod(object) {
            check_pod(&pod["spec"], &mut find);
        }
        check_selectors(object, objects, &mut find);
    }
    found
}

fn check_pod(spec: &Value, find: &mut impl FnMut(String)) {
    let mut want = |at: &str, value: Value| {
        if spec.pointer(at) != Some(&value) {
            find(format!("{at} is not {value}"));
        }
    };
    want("/automountServiceAccountToken", json!(false));
    want("/enableServiceLinks", json!(false));
    want("/securityContext/runAsNonRoot", json!(true));
    want("/securityContext/runAsUser", json!(65532));
    want("/securityContext/seccompProfile/type", json!("RuntimeDefault"));
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        if !spec[shared].is_null() {
            find(format!("{shared} is set"));
        }
    }
    let volumes: BTreeMap<&str, &Value> =
        list(&spec["volumes"]).map(|volume| (text(&volume["name"]), volume)).collect();
    if volumes.len() != list(&spec["volumes"]).count() {
        find("two volumes have one name".to_owned());
    }
    for (name, volume) in &volumes {
        let kinds = ["secret", "configMap", "downwardAPI", "persistentVolumeClaim", "emptyDir"];
        if !kinds.iter().any(|kind| volume[kind].is_object()) {
            find(format!("volume {name} is neither a Secret, a ConfigMap, of the pod itself, a claim nor empty"));
        }
    }
    for container in list(&spec["initContainers"]).chain(list(&spec["containers"])) {
        check_container(container, &mut |what| find(format!("container {}: {what}", text(&container["name"]))));
    }
}

fn check_container(container: &Value, find: &mut impl FnMut(String)) {
    let security = &container["securityContext"];
    let wanted = json!({
        "allowPrivilegeEscalation": false,
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "capabilities": { "drop": ["ALL"] },
    });
    if *security != wanted {
        find(format!("its security context is {security}"));
    }
    let image = text(&container["image"]);
    if image.ends_with(":latest") || !image.contains([':', '@']) {
        find(format!("the image {image} has no version"));
    }
    for bound in ["/resources/requests/cpu", "/resources/requests/memory", "/resources/limits/memory"] {
        if container.pointer(bound).is_none() {
            find(format!("{bound} is not set"));
        }
    }
    if container.pointer("/resources/limits/cpu").is_some() {
        find("a limit of CPU stops a turn in the middle".to_owned());
    }
    for variable in list(&container["env"]) {
        let name = text(&variable["name"]);
        let is_setting = Setting::ALL.iter().any(|setting| setting.variable() == name);
        let is_of_bucket = ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|begin| name.starts_with(begin));
        if !is_setting && !is_of_bucket && !VARIABLES.contains(&name) {
            find(format!("{name} is no variable that the binary knows"));
        }
        let is_secret =
            ["PASSWORD", "TOKEN", "SECRET"].iter().any(|word| name.contains(word)) || name.ends_with("_KEY");
        // What reaches a bucket comes by a variable, whose value is that of a Secret.
        if is_secret && !(is_of_bucket && variable["valueFrom"]["secretKeyRef"].is_object()) {
            find(format!("{name}: a secret comes by a file"));
        }
    }
    let ports: BTreeSet<&str> = list(&container["ports"]).map(|port| text(&port["name"])).collect();
    if ports.contains("") {
        find("a port has no name".to_owned());
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        if container[probe].is_object() && !ports.contains(text(&container[probe]["httpGet"]["port"])) {
            find(format!("{probe} asks a port that is not there"));
        }
    }
}

/// A Service, a budget, a policy and a controller find pods of this release, and those of Jobs and tests never.
fn check_selectors(object: &Value, objects: &[Value], find: &mut impl FnMut(String)) {
    let spec = &object["spec"];
    if object["kind"] == "ServiceMonitor" {
        let services = objects.iter().filter(|other| other["kind"] == "Service");
        let scraped =
            services.filter(|service| selects(&spec["selector"]["matchLabels"], &service["metadata"]["labels"]));
        let ports: Vec<&Value> =
            scraped.flat_map(|service| list(&service["spec"]["ports"])).map(|port| &port["name"]).collect();
        if ports != [&spec["endpoints"][0]["port"]] {
            find(format!("scrapes {ports:?}"));
        }
        return;
    }
    let selector = match text(&object["kind"]) {
        "Service" => &spec["selector"],
        "PodMonitor" => &spec["selector"]["matchLabels"],
        "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
        "PodDisruptionBudget" | "StatefulSet" | "Deployment" => &spec["selector"]["matchLabels"],
        _ => return,
    };
    let pods = objects.iter().filter_map(|other| Some((other, pod(other)?)));
    let chosen: Vec<(&Value, &Value)> = pods.filter(|(_, pod)| selects(selector, &pod["metadata"]["labels"])).collect();
    if chosen.is_empty() {
        find("selects no pod".to_owned());
    }
    for (other, pod) in chosen {
        if matches!(text(&other["kind"]), "Job" | "Pod") {
            find(format!("selects the pod of {}", name(other)));
        }
        for endpoint in list(&spec["podMetricsEndpoints"]) {
            let mut containers = list(&pod["spec"]["containers"]).flat_map(|container| list(&container["ports"]));
            if !containers.any(|of_pod| of_pod["name"] == endpoint["port"]) {
                find(format!("scrapes no port of {}", name(other)));
            }
        }
        for port in list(&spec["ports"]) {
            let mut containers = list(&pod["spec"]["containers"]).flat_map(|container| list(&container["ports"]));
            if port["name"].is_null() || !containers.any(|of_pod| of_pod["name"] == port["targetPort"]) {
                find(format!("the port {port} is not one of {}", name(other)));
            }
        }
    }
}

#[test]
fn what_must_not_be_is_found() {
    let container = json!({
        "name": "c", "image": "x:latest", "securityContext": { "privileged": true },
        "env": [{ "name": "HEADROOM_BROKERS" }, { "name": "HEADROOM_TOKEN" },
            { "name": "AWS_SECRET_ACCESS_KEY", "value": "x" }], "ports": [{ "containerPort": 1 }],
        "livenessProbe": { "httpGet": { "port": "http" } }, "resources": { "limits": { "cpu": 1 } },
    });
    let volumes = json!([{ "name": "v", "hostPath": {} }, { "name": "v" }]);
    let pod = json!({ "kind": "Pod", "metadata": { "name": "p", "labels": { "a": "b" } },
        "spec": { "hostNetwork": true, "volumes": volumes, "containers": [container] } });
    let service = json!({ "kind": "Service", "metadata": { "name": "s" },
        "spec": { "selector": { "a": "b" }, "ports": [{ "port": 1 }] } });
    let nobody = json!({ "kind": "PodDisruptionBudget", "metadata": { "name": "n" },
        "spec": { "selector": { "matchLabels": { "a": "c" } } } });
    let monitor = json!({ "kind": "PodMonitor", "metadata": { "name": "m" },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "podMetricsEndpoints": [{ "port": "metrics" }] } });
    let secret = json!({ "kind": "Secret", "metadata": { "name": "s" } });
    let found = faults(&[pod, service, nobody, monitor, secret.clone(), secret]).join("\n");
    for part in [
        "Pod p: /automountServiceAccountToken is not false",
        "hostNetwork is set",
        "two volumes have one name",
        "volume v is neither",
        "its security context is",
        "x:latest has no version",
        "/resources/requests/cpu is not set",
        "a limit of CPU",
        "HEADROOM_BROKERS is no variable",
        "HEADROOM_TOKEN: a secret comes by a file",
        "AWS_SECRET_ACCESS_KEY: a secret comes by a file",
        "PodMonitor m: scrapes no port of Pod p",
        "a port has no name",
        "livenessProbe asks a port",
        "Service s: selects the pod of Pod p",
        "is not one of Pod p",
        "PodDisruptionBudget n: selects no pod",
        "must make no Secret",
        "Secret s: is made twice",
    ] {
        assert!(found.contains(part), "{part} in:\n{found}");
    }
}
