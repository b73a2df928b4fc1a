//! What Helm makes of the chart, for every file of values in `helm/headroom/ci`: valid for three versions of Kubernetes, safe,
//! and accepted by the binary. `HEADROOM_REWRITE_GOLDEN=1` writes the renderings in `tests/golden/chart` anew.

mod clusters;

use super::objects::{faults, list, name, pod};
use super::{chart, documents, read, value_files, values_file};
use crate::process::{Served, agent, headroom, run};
use headroom::config::{Group, Setting};
use headroom::limits::{LEAVE_MS, SHUTDOWN_MS};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The versions of Kubernetes that objects are validated for: the oldest that the chart allows, the one in which all that it
/// uses is stable, and a newer one.
const VERSIONS: [&str; 3] = ["1.30", "1.34", "1.37"];

/// What the cluster of a rendering knows beside Kubernetes' own objects.
const APIS: &str = "monitoring.coreos.com/v1,kafka.strimzi.io/v1";

/// The files of values whose rendering is recorded.
const RECORDED: &[&str] = &["certificates", "embedded", "gateways", "sasl", "sink", "sink-files", "strimzi"];

/// Helm, and the Python that has the schemas of Kubernetes.
fn tools() -> &'static (PathBuf, PathBuf) {
    static TOOLS: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let mut fetch = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/fetch"));
        let output = fetch.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "tests/chart/fetch failed");
        let said = String::from_utf8(output.stdout).unwrap();
        let mut lines = said.lines().map(PathBuf::from);
        (lines.next().unwrap().join("bin/helm"), lines.next().unwrap().join("bin/python"))
    })
}

/// Runs Helm on the chart with a file of values: what it printed, or what it said against them.
fn helm(command: &[&str], values: &Path) -> Result<String, String> {
    let mut helm = Command::new(&tools().0);
    helm.args(command).arg(chart()).arg("--values").arg(values).stdin(Stdio::null());
    let ended = run(&mut helm);
    if ended.code == 0 { Ok(ended.out) } else { Err(format!("{}{}", ended.out, ended.err)) }
}

fn template(values: &Path) -> Result<String, String> {
    let command = ["template", "slots", "--namespace", "shop", "--kube-version", VERSIONS[0], "--api-versions", APIS];
    helm(&command, values)
}

/// The text of every rendering, by the name of its file of values.
fn renderings() -> &'static BTreeMap<String, String> {
    static ALL: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    ALL.get_or_init(|| {
        let of = |name: &String| template(&values_file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        value_files().keys().map(|name| (name.clone(), of(name))).collect()
    })
}

fn objects(name: &str) -> Vec<Value> {
    documents(&renderings()[name])
}

/// The object of a kind whose name ends so.
#[track_caller]
fn object(objects: &[Value], kind: &str, end: &str) -> Value {
    let of_kind = objects.iter().filter(|object| object["kind"] == kind);
    let mut found = of_kind.filter(|object| object["metadata"]["name"].as_str().unwrap().ends_with(end));
    found.next().unwrap_or_else(|| panic!("there is no {kind} whose name ends with {end}")).clone()
}

#[test]
fn the_chart_is_without_fault_for_every_file_of_values() {
    for name in value_files().keys() {
        // Only `template` can be told what else a cluster knows; that it is missing is no fault to `lint`.
        let linted = helm(&["lint", "--strict", "--quiet", "--kube-version", VERSIONS[0]], &values_file(name));
        assert_eq!(linted.err(), None, "{name}");
    }
}

/// What is wrong with objects, each a pair of its name and itself, for any of the versions of Kubernetes.
fn invalid(objects: &[Value]) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/validate.py");
    let mut validate = Command::new(&tools().1);
    validate.arg(script).args(VERSIONS).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = validate.spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(objects).to_string().as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn every_object_is_valid_for_three_versions_of_kubernetes() {
    let named = |file: &str, object: Value| json!([format!("{file}: {}", name(&object)), object]);
    let of_file =
        |(file, text): (&String, &String)| documents(text).into_iter().map(|object| named(file, object)).collect();
    let all: Vec<Value> = renderings().iter().flat_map(|rendering| -> Vec<Value> { of_file(rendering) }).collect();
    assert_eq!(invalid(&all), Ok(()));
}

#[test]
fn an_object_that_is_not_valid_is_found() {
    let mut set = object(&objects("plain"), "StatefulSet", "headroom");
    set["spec"]["template"]["spec"]["containers"][0]["port"] = json!([]);
    set["spec"]["replicas"] = json!("three");
    let found = invalid(&[json!(["a set", set])]).unwrap_err();
    for version in VERSIONS {
        assert!(found.contains(&format!("a set: Kubernetes {version}: ")), "{found}");
    }
}

#[test]
fn every_object_is_safe_and_finds_its_pods() {
    for file in renderings().keys() {
        let found = faults(&objects(file));
        assert!(found.is_empty(), "{file}:\n{}", found.join("\n"));
    }
}

/// The settings that a pod was made with.
fn settings(pod: &Value) -> Option<&str> {
    pod["metadata"]["annotations"]["headroom.toml"].as_str()
}

#[test]
fn the_binary_accepts_every_configuration() {
    for file in renderings().keys() {
        for object in &objects(file) {
            let of_pod = pod(object).and_then(settings);
            let Some(toml) = object["data"]["headroom.toml"].as_str().or(of_pod) else { continue };
            let dir = tempfile::tempdir().unwrap();
            let here = dir.path().to_str().unwrap();
            let toml = toml.replace("/etc/headroom", here);
            // The files that the settings name: those with a password are read at once.
            for path in toml.split('"').filter(|word| word.starts_with(here)) {
                fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
                fs::write(path, "text").unwrap();
            }
            let path = dir.path().join("headroom.toml");
            fs::write(&path, &toml).unwrap();
            let ended = run(headroom(["config", "--config"]).arg(&path));
            assert_eq!(ended.code, 0, "{file}: {}: {}\n{toml}", name(object), ended.err);
        }
    }
}

/// The strings of an array.
fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_server_answers_the_probes_and_does_what_helm_test_asks() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = headroom(["--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]);
    let server = Served::start(serve.arg(dir.path()));
    let release = objects("embedded-small");
    let container = &object(&release, "StatefulSet", "headroom")["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        let status = agent().get(format!("{}{path}", server.url)).call().unwrap().status();
        assert_eq!(status, 200, "{path}");
    }
    let pod = &object(&release, "Pod", "-test-calls")["spec"];
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        let mut args = strings(&container["args"]);
        let url = args.iter().position(|arg| arg == "--url").unwrap();
        args[url + 1].clone_from(&server.url);
        let ended = run(headroom([]).args(&args));
        assert_eq!(ended.code, 0, "{args:?}: {}", ended.err);
    }
}

#[test]
fn every_topic_of_the_binary_is_made_by_strimzi_under_its_usual_name() {
    let release = objects("strimzi");
    let made = release.iter().filter(|object| object["kind"] == "KafkaTopic");
    let mut names: Vec<&str> = made.map(|topic| topic["spec"]["topicName"].as_str().unwrap()).collect();
    let topics = Setting::ALL.iter().filter(|setting| setting.group() == Group::Topics);
    let mut usual: Vec<String> = topics.map(|setting| setting.default().unwrap()).collect();
    names.sort_unstable();
    usual.sort_unstable();
    assert_eq!(names, usual);
}

#[test]
fn a_pod_is_killed_only_after_its_shutdown_has_ended_by_itself() {
    for file in renderings().keys() {
        let set = object(&objects(file), "StatefulSet", "headroom");
        let pod = &set["spec"]["template"]["spec"];
        let before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!((grace - before) * 1_000 > LEAVE_MS + SHUTDOWN_MS, "{file}: {before} of {grace}");
    }
}

#[test]
fn each_role_has_its_pods_and_callers_come_to_those_that_take_calls() {
    let split = objects("gateways");
    for (kind, end, role) in [("StatefulSet", "headroom", "owner"), ("Deployment", "-gateway", "gateway")] {
        let env = &object(&split, kind, end)["spec"]["template"]["spec"]["containers"][0]["env"];
        assert!(env.as_array().unwrap().contains(&json!({ "name": "HEADROOM_ROLES", "value": role })), "{env}");
    }
    let component = |objects: &[Value]| {
        let service = object(objects, "Service", "headroom");
        service["spec"]["selector"]["app.kubernetes.io/component"].as_str().unwrap().to_owned()
    };
    assert_eq!((component(&split), component(&objects("plain"))), ("gateway".to_owned(), "owner".to_owned()));
}

#[test]
fn both_services_say_what_a_mesh_is_to_speak_or_nothing() {
    for (file, expected) in [("gateways-fixed", json!("kubernetes.io/h2c")), ("plain", Value::Null)] {
        for service in objects(file).iter().filter(|object| object["kind"] == "Service") {
            assert_eq!(service["spec"]["ports"][0]["appProtocol"], expected, "{file}: {}", name(service));
        }
    }
}

#[test]
fn the_job_for_topics_has_a_user_of_its_own_and_knows_no_caller() {
    let job = object(&objects("sasl"), "Job", "-topics");
    let pod = pod(&job).unwrap();
    let toml = settings(pod).unwrap();
    for part in
        ["kafka_sasl_username = \"headroom-topics\"", "secret/headroom-kafka-topics/password", "partitions = 12"]
    {
        assert!(toml.contains(part), "{part} in {toml}");
    }
    let names: Vec<&str> = toml.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(
        names.iter().all(|name| !["auth", "tokens_file", "tls_key", "hosts", "listen"].contains(name)),
        "{names:?}"
    );
    let pod = pod["spec"].to_string();
    assert!(!pod.contains("headroom-tokens") && !pod.contains("headroom-tls"), "{pod}");
}

/// The story: `headroom rebuild --server` with the name of the pods' Service was told that no process has this name.
#[test]
fn calls_are_accepted_under_the_names_of_every_service() {
    for file in renderings().keys() {
        let release = objects(file);
        let toml = object(&release, "ConfigMap", "headroom")["data"]["headroom.toml"].as_str().unwrap().to_owned();
        let hosts = toml.lines().find_map(|line| line.strip_prefix("hosts = ")).unwrap().trim_matches('"');
        let services = release.iter().filter(|object| object["kind"] == "Service");
        for name in services.map(|service| service["metadata"]["name"].as_str().unwrap()) {
            for end in ["", ".shop", ".shop.svc", ".shop.svc.cluster.local"] {
                assert!(hosts.split(',').any(|host| host == format!("{name}{end}")), "{file}: {name}{end} in {hosts}");
            }
        }
    }
}

/// The story: the files of two Secrets whose names differ in a dot all came from one of them.
#[test]
fn every_file_that_a_setting_names_is_mounted_from_where_it_is() {
    for file in renderings().keys() {
        let release = objects(file);
        for owner in release.iter().filter(|object| object["kind"] != "Pod") {
            let Some(pod) = pod(owner) else { continue };
            let volume = |name: &Value| list(&pod["spec"]["volumes"]).find(|volume| volume["name"] == *name).unwrap();
            for path in settings(pod).unwrap().split('"').filter(|word| word.starts_with("/etc/headroom/")) {
                let (dir, key) = path.rsplit_once('/').unwrap();
                let (_, from) = dir.rsplit_once('/').unwrap();
                let mut mounts = list(&pod["spec"]["containers"][0]["volumeMounts"]);
                let mount = mounts.find(|mount| mount["mountPath"] == dir);
                let mount = mount.unwrap_or_else(|| panic!("{file}: {}: nothing is mounted at {dir}", name(owner)));
                let source = volume(&mount["name"]);
                let (secret, config_map) = (&source["secret"], &source["configMap"]);
                assert!(secret["secretName"] == from || config_map["name"] == from, "{file}: {path} is of {source}");
                let mut items = list(&secret["items"]).chain(list(&config_map["items"]));
                assert!(items.any(|item| item["key"] == key), "{file}: {path} is not in {source}");
            }
        }
    }
}

/// Servers, the Job for topics and the test of the log read snapshots.
#[test]
fn whoever_reads_a_bucket_knows_how_and_may_call_it() {
    let strimzi = objects("strimzi");
    let pods = [("StatefulSet", "slots-headroom"), ("Job", ""), ("Pod", "test-log")];
    for (kind, end) in pods {
        let object = object(&strimzi, kind, end);
        let spec = if kind == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
        let container = spec["initContainers"].get(0).unwrap_or(&spec["containers"][0]);
        let env = container["env"].as_array().unwrap();
        let value = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap_or(&Value::Null).clone();
        assert_eq!(value("AWS_REGION")["value"], "eu-central-1", "{kind}");
        let secret = json!({ "name": "slots-bucket", "key": "secret-access-key" });
        assert_eq!(value("AWS_SECRET_ACCESS_KEY")["valueFrom"]["secretKeyRef"], secret, "{kind}");
    }
    let ports = |name: &str| {
        let rules = object(&objects(name), "NetworkPolicy", "slots-headroom")["spec"]["egress"].to_string();
        [443, 9000].map(|port| rules.contains(&format!("{{\"port\":{port}}}")))
    };
    assert_eq!((ports("strimzi"), ports("embedded"), ports("plain")), ([true; 2], [true, false], [false; 2]));
    let account = object(&objects("embedded"), "ServiceAccount", "slots-headroom");
    let identity = &account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"];
    assert_eq!(identity, "slots@example.iam.gserviceaccount.com");
    let test = object(&objects("placed"), "Pod", "test-log");
    assert_eq!(test["spec"]["serviceAccountName"], "slots-headroom");
}

/// The story: a mesh put a proxy that never ends into the Job for topics, and only the other pods could say that they want none.
/// Some providers of buckets go by a label of the pod as well. The story: `helm test` waited for a pod that no node would take.
#[test]
fn every_pod_has_the_labels_the_annotations_and_the_nodes_of_the_values() {
    for mut values in ["placed", "sink-files"].map(|file| value_files().remove(file).unwrap()) {
        set(&mut values, "podLabels", json!({ "team": "capacity" }));
        set(&mut values, "podAnnotations", json!({ "example.com/mesh": "off" }));
        set(&mut values, "nodeSelector", json!({ "kubernetes.io/arch": "amd64" }));
        set(&mut values, "tolerations", json!([{ "key": "dedicated" }]));
        let changed = tempfile::NamedTempFile::new().unwrap();
        fs::write(changed.path(), values.to_string()).unwrap();
        let release = documents(&template(changed.path()).unwrap());
        for (object, pod) in release.iter().filter_map(|object| Some((object, pod(object)?))) {
            let about = &pod["metadata"];
            let said = (&about["labels"]["team"], &about["annotations"]["example.com/mesh"]);
            assert_eq!(said, (&json!("capacity"), &json!("off")), "{}", name(object));
            assert_eq!(pod["spec"]["nodeSelector"], json!({ "kubernetes.io/arch": "amd64" }), "{}", name(object));
            assert_eq!(pod["spec"]["tolerations"], json!([{ "key": "dedicated" }]), "{}", name(object));
        }
    }
}

#[test]
fn a_command_runs_where_its_server_has_been() {
    let release = objects("command");
    let set = &object(&release, "StatefulSet", "headroom")["spec"];
    let server = &set["template"]["spec"];
    let pod = &object(&release, "Pod", "-command")["spec"];
    for part in ["/serviceAccountName", "/securityContext"] {
        assert_eq!(pod.pointer(part), server.pointer(part), "{part}");
    }
    for part in ["image", "env", "resources", "securityContext"] {
        assert_eq!(pod["containers"][0][part], server["containers"][0][part], "{part}");
    }
    // The story: `headroom verify` ended with 2 in every pod of the chart, because it had no directory for copies of checkpoints.
    let mut mounts: Vec<&Value> = list(&pod["containers"][0]["volumeMounts"]).collect();
    let tmp = mounts.remove(mounts.iter().position(|mount| mount["mountPath"] == "/tmp").unwrap());
    assert_eq!(mounts, list(&server["containers"][0]["volumeMounts"]).collect::<Vec<_>>());
    let mut volumes: Vec<&Value> = list(&pod["volumes"]).collect();
    let empty = volumes.remove(volumes.iter().position(|volume| volume["name"] == tmp["name"]).unwrap());
    assert_eq!(empty["emptyDir"], json!({}));
    let data = volumes.remove(volumes.iter().position(|volume| volume["name"] == "data").unwrap());
    assert_eq!(volumes, list(&server["volumes"]).collect::<Vec<_>>());
    let claim = format!("{}-slots-headroom-0", set["volumeClaimTemplates"][0]["metadata"]["name"].as_str().unwrap());
    assert_eq!(data["persistentVolumeClaim"]["claimName"], claim);
    // It is not run again, and nobody makes one who has asked for no command.
    assert_eq!(pod["restartPolicy"], "Never");
    assert!(!renderings()["embedded"].contains("templates/command.yaml"));
}

/// The story: an upgrade could not be ended, because the servers' user may not write the manifest, and that of the Job for topics
/// saw no process.
#[test]
fn the_user_of_the_job_for_topics_can_end_an_upgrade() {
    let user = object(&objects("strimzi"), "KafkaUser", "-topics");
    let acls = user["spec"]["authorization"]["acls"].as_array().unwrap();
    let sees = acls.iter().find(|acl| acl["resource"]["type"] == "group").expect("it may see no group");
    assert_eq!(sees["operations"], json!(["Describe"]));
    let mut values = value_files().remove("sasl").unwrap();
    set(&mut values, "command", json!({ "args": ["topics", "finalize"] }));
    let changed = tempfile::NamedTempFile::new().unwrap();
    fs::write(changed.path(), values.to_string()).unwrap();
    let release = documents(&template(changed.path()).unwrap());
    let command = object(&release, "Pod", "-command");
    let job = &object(&release, "Job", "-topics")["spec"]["template"];
    assert_eq!((settings(&command), &command["spec"]["volumes"]), (settings(job), &job["spec"]["volumes"]));
    assert_eq!(command["spec"]["containers"][0]["args"], json!(["topics", "finalize"]));
}

#[test]
fn the_sink_has_settings_of_its_own_and_knows_no_caller() {
    let release = objects("sink");
    let toml = object(&release, "ConfigMap", "-sink")["data"]["headroom.toml"].as_str().unwrap().to_owned();
    for part in [
        "kafka_sasl_username = \"headroom-sink\"",
        "secret/headroom-kafka-sink/password",
        "secret/headroom-redshift/password",
        "sink_batch_ms = 900000",
        "open = \"metrics\"",
    ] {
        assert!(toml.contains(part), "{part} in {toml}");
    }
    let names: Vec<&str> = toml.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let foreign = ["auth", "tokens_file", "hosts", "listen", "snapshots", "otlp_endpoint"];
    assert!(names.iter().all(|name| !foreign.contains(name)), "{names:?}");
    let account = object(&release, "ServiceAccount", "-sink");
    let role = "arn:aws:iam::123456789012:role/headroom-sink";
    assert_eq!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], role);
    let pod = &object(&release, "Deployment", "-sink")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(strings(&pod["initContainers"][0]["args"]), ["sink", "apply"]);
    for foreign in ["headroom-tokens", "slots-bucket", "AWS_ACCESS_KEY_ID"] {
        assert!(!pod.to_string().contains(foreign), "{foreign} in {pod}");
    }
    // Files have no tables.
    assert!(
        object(&objects("sink-files"), "Deployment", "-sink")["spec"]["template"]["spec"]["initContainers"].is_null()
    );
}

#[test]
fn a_sink_may_reach_its_database_and_its_bucket() {
    for (file, expected) in [("sink", json!([9093, 443, 5439])), ("sink-files", json!([9092, 443, 9000]))] {
        let policy = object(&objects(file), "NetworkPolicy", "-sink");
        let ports = policy["spec"]["egress"][1]["ports"].as_array().unwrap().iter();
        assert_eq!(json!(ports.map(|port| port["port"].clone()).collect::<Vec<_>>()), expected, "{file}");
    }
}

#[test]
fn the_rules_are_those_of_the_file_and_lead_to_the_runbooks_of_this_release() {
    let rules = object(&objects("monitoring"), "PrometheusRule", "headroom");
    let file = read(&chart().join("rules/headroom.rules.yaml"));
    assert!(file.contains("http://headroom:8080/docs/runbooks/"), "the rules have no runbooks");
    let here = file.replace("http://headroom:8080", "https://slots-headroom.shop.svc:8080");
    let scraped = object(&objects("monitoring"), "Service", "-pods");
    let ours = format!("absent(headroom_http_connections{{namespace=\"shop\",job={}}})", scraped["metadata"]["name"]);
    assert!(here.contains("expr: absent(headroom_http_connections)\n"), "no alert tells that no server is left");
    let narrowed = here.replace("absent(headroom_http_connections)", &ours);
    assert_eq!(rules["spec"], documents(&narrowed)[0]);
    // Who scrapes otherwise has labels that the chart does not know.
    let mut values = value_files().remove("monitoring").unwrap();
    set(&mut values, "monitoring.serviceMonitor.enabled", json!(false));
    let changed = tempfile::NamedTempFile::new().unwrap();
    fs::write(changed.path(), values.to_string()).unwrap();
    let release = documents(&template(changed.path()).unwrap());
    assert_eq!(object(&release, "PrometheusRule", "headroom")["spec"], documents(&here)[0]);
}

#[test]
fn the_dashboards_are_those_of_the_files() {
    let map = object(&objects("monitoring"), "ConfigMap", "-dashboards");
    let files = fs::read_dir(chart().join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let boards: BTreeMap<String, String> =
        files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read(&path))).collect();
    assert_eq!(map["data"], json!(boards));
    assert!(map.to_string().len() < 1 << 20, "a ConfigMap holds less than 1 MiB");
}

#[test]
fn renderings_are_as_recorded() {
    for file in RECORDED {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/chart/{file}.yaml"));
        if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
            fs::write(&path, &renderings()[*file]).unwrap();
        }
        let recorded = read(&path);
        for (ours, theirs) in renderings()[*file].lines().zip(recorded.lines()) {
            assert_eq!(ours, theirs, "{}", path.display());
        }
        assert_eq!(renderings()[*file].lines().count(), recorded.lines().count(), "{}", path.display());
    }
}

/// Puts a value where a path of names leads; null takes away what is there.
fn set(values: &mut Value, path: &str, value: Value) {
    let mut names: Vec<&str> = path.split('.').collect();
    let name = names.pop().unwrap();
    let parent = names.into_iter().fold(values, |at, name| &mut at[name]);
    match value {
        Value::Null => drop(parent.as_object_mut().unwrap().remove(name)),
        value => parent[name] = value,
    }
}

/// Changes of a file of values, and the sentence that refuses them.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("plain", &["settings.auth=null"], "settings.auth is missing: the servers listen on the network"),
    ("plain", &["settings.kafka_brokers=null"], "settings.kafka_brokers is missing: name the brokers"),
    ("plain", &["embedded.enabled=true"], "embedded.enabled and settings.kafka_brokers exclude each other"),
    ("embedded", &["replicas=2"], "embedded.enabled needs replicas: 1"),
    ("embedded", &["gateways.enabled=true"], "gateways.enabled needs a log on a cluster"),
    ("embedded", &["strimzi.enabled=true"], "strimzi.enabled needs a log on a cluster"),
    ("plain", &["settings.auth=tokens"], "files.tokens_file is missing: settings.auth lists tokens"),
    ("certificates", &["files.certificates_file=null"], "files.certificates_file is missing"),
    ("certificates", &["files.tls_client_ca=null"], "files.tls_client_ca is missing"),
    (
        "certificates",
        &["files.tls_key=null"],
        "files.tls_key is missing: files.tls_certificate is of no use without it",
    ),
    ("certificates", &["settings.auth=none"], "files.tls_client_ca protects nothing"),
    ("sasl", &["files.kafka_sasl_password_file=null"], "files.kafka_sasl_password_file is missing"),
    ("sasl", &["topics.settings.kafka_sasl_username=null"], "the Job that makes topics has a user of its own"),
    ("sasl", &["files.tls_certificate=null", "files.tls_key=null"], "test.files.token_file needs TLS"),
    ("certificates", &["test.files.certificate_key=null"], "test.files.certificate_key is missing"),
    ("plain", &["gateways.autoscaling.enabled=true"], "gateways.autoscaling.enabled needs gateways.enabled"),
    ("gateways", &["gateways.resources.requests=null"], "gateways.resources.requests.cpu is missing"),
    ("gateways", &["gateways.autoscaling.minReplicas=20"], "minReplicas is more than gateways.autoscaling.maxReplicas"),
    ("monitoring", &["monitoring.serviceMonitor.token=null"], "monitoring.serviceMonitor.token is missing"),
    ("strimzi", &["settings.partitions=null"], "settings.partitions is missing: strimzi.enabled makes the topics"),
    ("strimzi", &["strimzi.cluster="], "strimzi.cluster is missing"),
    (
        "sink",
        &["embedded.enabled=true", "replicas=1", "settings.kafka_brokers=null"],
        "sink.enabled needs a log on a cluster",
    ),
    ("sink-files", &["sink.settings.sink_files=null"], "sink.settings.sink_database is missing"),
    ("sink-files", &["sink.settings.sink_files=file:///lake"], "sink.settings.sink_files is a folder"),
    ("sink-files", &["sink.buckets.env.AWS_SECRET_ACCESS_KEY=k"], "sink.buckets.env.AWS_SECRET_ACCESS_KEY is a secret"),
    ("sink", &["sink.files.sink_database_ca=null"], "sink.files.sink_database_ca is missing"),
    (
        "strimzi",
        &["buckets.env.AWS_SESSION_TOKEN=secret"],
        "buckets.env.AWS_SESSION_TOKEN is a secret: name the Secret and the key that hold it in buckets.secretEnv",
    ),
    ("strimzi", &["buckets.env.AZURE_STORAGE_ACCOUNT_KEY=secret"], "AZURE_STORAGE_ACCOUNT_KEY is a secret"),
    (
        "strimzi",
        &["buckets.secretEnv.AWS_REGION={\"secret\":\"s\",\"key\":\"k\"}"],
        "buckets.env and buckets.secretEnv both have AWS_REGION",
    ),
    ("plain", &["proxy.env.HTTPS_PROXY=http://u:p@proxy:3128"], "proxy.env.HTTPS_PROXY is a secret"),
    // The schema of values.
    ("plain", &["setting.auth=none"], "setting"),
    ("plain", &["settings.kafka_sasl_password=secret"], "kafka_sasl_password"),
    ("strimzi", &["buckets.env.HOME=/"], "buckets/env"),
];

#[test]
fn values_that_cannot_work_are_refused_with_a_sentence() {
    for (file, changes, sentence) in REFUSED {
        let mut values = value_files().remove(*file).unwrap();
        for change in *changes {
            let (path, value) = change.split_once('=').unwrap();
            set(&mut values, path, serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
        }
        let changed = tempfile::NamedTempFile::new().unwrap();
        fs::write(changed.path(), values.to_string()).unwrap();
        let refused = template(changed.path()).expect_err(&format!("{file}: {changes:?}"));
        assert!(refused.contains(sentence), "{file}: {changes:?}: {refused}");
    }
}

#[test]
fn objects_of_operators_that_are_not_there_are_refused() {
    for (file, sentence) in [
        ("monitoring", "this cluster does not know monitoring.coreos.com/v1"),
        ("strimzi", "this cluster does not know kafka.strimzi.io/v1"),
    ] {
        let refused = helm(&["template", "slots", "--kube-version", VERSIONS[0]], &values_file(file)).unwrap_err();
        assert!(refused.contains(sentence), "{refused}");
    }
    let old = helm(&["template", "slots", "--kube-version", "1.29"], &values_file("plain")).unwrap_err();
    assert!(old.contains("kubeVersion"), "{old}");
}
