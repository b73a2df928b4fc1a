//! What holds in a cluster: while a release changes, under other tools than Helm, and where the cluster has rules of its own.

use super::super::objects::selects;
use super::{documents, list, name, object, objects, pod, set, settings, template, value_files};
use serde_json::{Value, json};
use std::fs;

/// The objects for a file of values in which some are others.
fn changed(file: &str, changes: &[(&str, Value)]) -> Vec<Value> {
    let mut values = value_files().remove(file).unwrap();
    for (path, value) in changes {
        set(&mut values, path, value.clone());
    }
    let written = tempfile::NamedTempFile::new().unwrap();
    fs::write(written.path(), values.to_string()).unwrap();
    documents(&template(written.path()).unwrap())
}

/// The story: in a rolling upgrade a pod of the version before started again by itself, read the new settings in the ConfigMap
/// of the release, and refused one that it did not know.
#[test]
fn servers_and_sinks_have_the_settings_that_they_were_made_with() {
    let ours = json!([{
        "path": "headroom.toml",
        "fieldRef": { "fieldPath": "metadata.annotations['headroom.toml']" },
    }]);
    for (file, kind, end, map) in [
        ("gateways", "StatefulSet", "headroom", "headroom"),
        ("gateways", "Deployment", "-gateway", "headroom"),
        ("sink", "Deployment", "-sink", "-sink"),
    ] {
        let release = objects(file);
        let made = object(&release, kind, end);
        let pod = pod(&made).unwrap();
        let volume = list(&pod["spec"]["volumes"]).find(|volume| volume["name"] == "config").unwrap();
        assert_eq!(volume["downwardAPI"]["items"], ours, "{file}: {kind}");
        let of_release = object(&release, "ConfigMap", map);
        assert_eq!(settings(pod), of_release["data"]["headroom.toml"].as_str(), "{file}: {kind}");
    }
}

/// The story: Helm refused to turn `strimzi.enabled` on, because the ConfigMap of the Job for topics was one that a hook had made.
#[test]
fn the_job_for_topics_needs_no_object_that_is_now_a_hook_and_now_none() {
    let names = |file: &str| -> Vec<String> {
        let release = objects(file);
        let of_job = release.iter().filter(|made| {
            let labels = &made["metadata"]["labels"];
            labels["app.kubernetes.io/name"] == "slots-headroom-topics"
        });
        of_job.map(name).collect()
    };
    let (hook, none) = (names("plain"), names("strimzi"));
    assert_eq!(hook, ["Job slots-headroom-topics"]);
    assert!(none.len() == 1 && none != hook, "{none:?}");
}

/// The story: Argo CD renders each revision as the first one, and Kubernetes refuses to change the content of a Job. So every sync
/// after the first failed that brought another image.
#[test]
fn a_job_that_is_no_hook_has_another_name_with_another_content() {
    let job = |changes: &[(&str, Value)]| object(&changed("strimzi", changes), "Job", "");
    let first = job(&[]);
    assert_eq!(job(&[("replicas", json!(5))]), first);
    for change in [
        ("image.tag", json!("9.9.9")),
        ("settings.partitions", json!(12)),
        ("topics.settings.kafka_sasl_username", json!("somebody")),
    ] {
        let path = change.0;
        assert_ne!(job(&[change])["metadata"]["name"], first["metadata"]["name"], "{path}");
    }
    // A hook is deleted before it is made again, by Helm and by Argo CD.
    let hook = object(&objects("plain"), "Job", "-topics");
    let policy = &hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"];
    assert_eq!(policy, "before-hook-creation");
}

/// The story: OpenShift admitted no pod, because it gives the numbers of users and groups itself and the chart had some of its own.
#[test]
fn users_and_groups_can_be_left_to_the_cluster() {
    for ids in [json!({ "runAsUser": null, "runAsGroup": null, "fsGroup": null }), Value::Null] {
        let written = tempfile::NamedTempFile::new().unwrap();
        let mut values = value_files().remove("sink").unwrap();
        values["podSecurityContext"] = ids;
        fs::write(written.path(), values.to_string()).unwrap();
        let release = documents(&template(written.path()).unwrap());
        for (made, pod) in release.iter().filter_map(|made| Some((made, pod(made)?))) {
            let expected = json!({
                "runAsNonRoot": true,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": { "type": "RuntimeDefault" },
            });
            assert_eq!(pod["spec"]["securityContext"], expected, "{}", name(made));
        }
    }
    let other = changed("plain", &[("podSecurityContext", json!({ "runAsUser": 1000 }))]);
    let pod = &object(&other, "StatefulSet", "headroom")["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["securityContext"]["runAsUser"], &pod["securityContext"]["fsGroup"]),
        (&json!(1000), &json!(65532))
    );
}

/// The story: behind a proxy no start could read the keys of its issuer, and no value could name the proxy.
#[test]
fn whoever_reaches_out_of_the_cluster_knows_the_proxy_and_may_call_it() {
    let secret = json!({ "secret": "headroom-proxy", "key": "url" });
    let url = json!("http://proxy.example:3128");
    let release = changed("sink", &[("proxy.env.HTTPS_PROXY", url.clone()), ("proxy.secretEnv.HTTP_PROXY", secret)]);
    for (made, pod) in release.iter().filter_map(|made| Some((made, pod(made)?))) {
        for container in list(&pod["spec"]["initContainers"]).chain(list(&pod["spec"]["containers"])) {
            let value = |of: &str| list(&container["env"]).find(|variable| variable["name"] == of);
            let https = value("HTTPS_PROXY").map(|variable| &variable["value"]);
            let http = value("HTTP_PROXY").map(|variable| &variable["valueFrom"]["secretKeyRef"]["name"]);
            assert_eq!((https, http), (Some(&url), Some(&json!("headroom-proxy"))), "{}", name(made));
        }
    }
    for end in ["slots-headroom", "-sink"] {
        let rules = object(&release, "NetworkPolicy", end)["spec"]["egress"].to_string();
        assert!(rules.contains("{\"port\":3128}"), "{end}: {rules}");
    }
}

/// What the page says about gateways on a running release: owners that are told to take calls are those that the next upgrade
/// wants, and Helm takes gateways over that somebody made.
#[test]
fn owners_beside_gateways_differ_by_their_role_alone() {
    let of = |enabled: bool| changed("plain", &[("gateways.enabled", json!(enabled))]);
    let mut beside = object(&of(true), "StatefulSet", "headroom");
    let env = beside["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
    env.retain(|variable| variable["name"] != "HEADROOM_ROLES");
    assert_eq!(beside, object(&of(false), "StatefulSet", "headroom"));
    let gateways = object(&of(true), "Deployment", "-gateway");
    assert_eq!(gateways["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
}

/// The story: gateways that had a long log to read were said to have failed after ten minutes, which is the default of Kubernetes.
#[test]
fn a_deployment_has_not_failed_before_a_start_has() {
    let release = changed("gateways", &[("startupSeconds", json!(3_600))]);
    let spec = &object(&release, "Deployment", "-gateway")["spec"];
    assert!(spec["progressDeadlineSeconds"].as_u64().unwrap() > 3_600, "{}", spec["progressDeadlineSeconds"]);
}

/// The story: gateways had a limit of CPU, which is their request as well, and Helm refused their autoscaler.
#[test]
fn an_autoscaler_goes_by_a_limit_of_cpu_where_nothing_is_requested() {
    let release = changed("gateways", &[("gateways.resources", json!({ "limits": { "cpu": "2" } }))]);
    object(&release, "HorizontalPodAutoscaler", "-gateway");
}

/// The story: `headroom rebuild --swap` in a pod named every process, as the runbook of a broken law says, and none was reached.
#[test]
fn a_command_in_a_pod_of_the_release_reaches_every_server() {
    let release = changed("peers", &[("command.args", json!(["verify"]))]);
    let policy = object(&release, "NetworkPolicy", "slots-headroom");
    let may_come = &policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    for (kind, end) in [("StatefulSet", "headroom"), ("Pod", "-command"), ("Pod", "-test-calls")] {
        let made = object(&release, kind, end);
        assert!(selects(may_come, &pod(&made).unwrap()["metadata"]["labels"]), "{kind} {end}");
    }
    let mut reached = list(&policy["spec"]["egress"]).filter(|rule| rule["ports"] == json!([{ "port": 8080 }]));
    let servers = &reached.next().expect("no server may be reached")["to"][0]["podSelector"]["matchLabels"];
    let server = object(&release, "StatefulSet", "headroom");
    assert!(selects(servers, &pod(&server).unwrap()["metadata"]["labels"]), "{servers}");
}

/// The story: Argo CD deletes what the chart makes no longer, also what Helm is told to keep. Without its object a topic is deleted.
#[test]
fn neither_helm_nor_argo_cd_deletes_a_topic() {
    let release = objects("strimzi");
    let topics: Vec<&Value> = release.iter().filter(|made| made["kind"] == "KafkaTopic").collect();
    assert!(!topics.is_empty());
    for topic in topics {
        let said = &topic["metadata"]["annotations"];
        let expected = json!({ "helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false" });
        assert_eq!(*said, expected, "{}", name(topic));
    }
}

/// The story: on OpenShift no process found its brokers. Its pods that answer for names listen on 5353, and a policy sees the port
/// of the pod.
#[test]
fn names_may_be_asked_for_where_the_pods_that_answer_listen() {
    let release = objects("sink");
    for end in ["slots-headroom", "-sink"] {
        let rules = object(&release, "NetworkPolicy", end)["spec"]["egress"][0]["ports"].clone();
        for port in [53, 5353] {
            for protocol in ["UDP", "TCP"] {
                let wanted = json!({ "port": port, "protocol": protocol });
                assert!(list(&rules).any(|rule| *rule == wanted), "{end}: {wanted} in {rules}");
            }
        }
    }
}
