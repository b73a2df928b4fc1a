//! What can be set: the schema knows every setting of the binary, and refuses what no server could be started with.

use super::{chart, documents, read, value_files};
use boon::{Compiler, Schemas};
use headroom::config::{Group, Kind, Setting};
use headroom::limits::{LEAVE_MS, SHUTDOWN_MS};
use serde_json::{Value, json};

/// Settings that the chart sets by itself.
const OWN: &[Setting] = &[Setting::Listen, Setting::DataDir, Setting::Roles, Setting::TlsClientAuth];

fn schema() -> Value {
    serde_json::from_str(&read(&chart().join("values.schema.json"))).unwrap()
}

/// Whether the value of a setting may be the path of a file.
fn names_a_file(setting: Setting) -> bool {
    matches!(setting.kind(), Kind::Text(shape) if shape.contains("FILE"))
}

/// What the schema says of a setting.
fn described(setting: Setting) -> Value {
    let mut property = match setting.kind() {
        Kind::Text(_) | Kind::Secret => json!({ "type": "string", "minLength": 1 }),
        Kind::Number(_) => json!({ "type": "integer", "minimum": 0 }),
        Kind::Truth => json!({ "type": "boolean" }),
    };
    let mut doc = setting.doc();
    if let Some(default) = setting.default() {
        doc.push_str(&format!(" (default: {default})"));
    }
    property["description"] = json!(doc);
    property
}

/// An object that may have these members and no other.
fn object<'a>(description: &str, of: impl Iterator<Item = &'a Setting>, property: impl Fn(Setting) -> Value) -> Value {
    let properties: serde_json::Map<String, Value> =
        of.map(|setting| (setting.name().to_owned(), property(*setting))).collect();
    json!({ "description": description, "type": "object", "additionalProperties": false, "properties": properties })
}

/// The definitions of the schema that follow from the table of settings.
fn definitions() -> Value {
    let all = || Setting::ALL.iter().filter(|setting| !OWN.contains(setting));
    let plain = || all().filter(|setting| setting.kind() != Kind::Secret && setting.kind() != Kind::Text("FILE"));
    let of_file = |setting: Setting| json!({ "description": setting.doc(), "$ref": "#/definitions/file" });
    let files = || all().filter(|setting| names_a_file(**setting));
    let of_kafka = |setting: &&Setting| setting.is_of_kafka();
    let of_sink = |setting: &&Setting| {
        setting.is_of_kafka() || setting.group() == Group::Sink && **setting != Setting::SinkListen
    };
    json!({
        "settings": object("Settings of Headroom under their own names.", plain(), described),
        "clusterSettings": object("Settings of a cluster and of a registry.", plain().filter(of_kafka), described),
        "files": object("Files for settings that name one.", files(), of_file),
        "sinkSettings": object("Settings of the sink, of a cluster and of a registry.", plain().filter(of_sink), described),
        "sinkFiles": object("Files for settings of the sink, of a cluster and of a registry.", files().filter(of_sink), of_file),
        "clusterFiles": object("Files for settings of a cluster and of a registry.", files().filter(of_kafka), of_file),
    })
}

#[test]
fn the_schema_has_the_settings_of_the_binary() {
    let mut schema = schema();
    let rest = schema["definitions"].as_object().unwrap().clone();
    let mut all = definitions();
    all.as_object_mut().unwrap().extend(rest.into_iter().filter(|(name, _)| definitions().get(name).is_none()));
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        schema["definitions"] = all.clone();
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        std::fs::write(chart().join("values.schema.json"), text).unwrap();
    }
    assert!(
        schema["definitions"] == all,
        "the settings have changed: HEADROOM_REWRITE_GOLDEN=1 with this test writes them into values.schema.json"
    );
}

/// What the schema says against values; nothing when they fit.
fn refused(values: &Value) -> Option<String> {
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("urn:values", schema()).unwrap();
    let schema = compiler.compile("urn:values", &mut schemas).unwrap();
    schemas.validate(values, schema).err().map(|error| error.to_string())
}

#[test]
fn the_defaults_and_every_file_of_values_fit_the_schema() {
    let defaults = documents(&read(&chart().join("values.yaml"))).remove(0);
    assert_eq!(refused(&defaults), None);
    let files = value_files();
    assert!(files.len() >= 12, "{} files", files.len());
    for (name, values) in files {
        assert_eq!(refused(&values), None, "{name}");
    }
}

#[test]
fn the_schema_refuses_what_it_does_not_know() {
    let file = json!({ "secret": "s", "key": "k" });
    for (path, value) in [
        ("/setting", json!({})),
        ("/settings/kafka_broker", json!("k:9092")),
        ("/settings/listen", json!("0.0.0.0:80")),
        ("/settings/roles", json!("owner")),
        ("/settings/kafka_sasl_password", json!("secret")),
        ("/settings/tokens_file", json!("/etc/tokens.json")),
        ("/settings/partitions", json!("4")),
        ("/settings/kafka_alternating_producers", json!("true")),
        ("/settings/trace_sample_ratio", json!(0.1)),
        ("/files/kafka_sasl_password", file.clone()),
        ("/files/tokens_file", json!("/etc/tokens.json")),
        ("/files/tokens_file", json!({ "secret": "s" })),
        ("/files/tokens_file", json!({ "secret": "s", "configMap": "c", "key": "k" })),
        ("/files/tokens_file", json!({ "secret": "S", "key": "k" })),
        ("/files/tokens_file", json!({ "secret": "s", "key": "../k" })),
        ("/topics/settings/auth", json!("none")),
        ("/topics/files/tokens_file", file.clone()),
        ("/sink/settings/auth", json!("none")),
        ("/sink/settings/sink_listen", json!("0.0.0.0:80")),
        ("/sink/files/tokens_file", file.clone()),
        ("/sink/buckets/secretEnv/AWS_SECRET_ACCESS_KEY", json!("secret")),
        ("/sink/buckets/env/AWS_ACCESS_KEY_ID", json!({ "secret": "s", "key": "k" })),
        ("/monitoring/serviceMonitor/token", json!({ "configMap": "c", "key": "k" })),
        ("/test/files/tls_key", file.clone()),
        ("/buckets/env/HOME", json!("/")),
        ("/buckets/env/AWS_REGION", json!(1)),
        ("/buckets/secretEnv/AWS_SESSION_TOKEN", json!("secret")),
        ("/buckets/secretEnv/LD_PRELOAD", file),
        ("/proxy/env/HOME", json!("/")),
        ("/proxy/env/HTTPS_PROXY", json!("proxy:3128")),
        ("/proxy/secretEnv/HTTPS_PROXY", json!("secret")),
        ("/image/digest", json!("latest")),
        ("/service/appProtocol", json!("http 2")),
        ("/command/args", json!("verify")),
        ("/command/claim", json!("Data")),
        ("/replicas", json!(0)),
        ("/podSecurityContext/runAsUser", json!(0)),
        ("/podSecurityContext/privileged", json!(true)),
        ("/storage/size", json!("much")),
    ] {
        let mut values = json!({ "settings": {} });
        let mut at = &mut values;
        for name in path.split('/').skip(1) {
            at = &mut at[name];
        }
        *at = value;
        assert!(refused(&values).is_some(), "{values}");
    }
}

#[test]
fn the_chart_says_what_the_source_says() {
    let about = documents(&read(&chart().join("Chart.yaml"))).remove(0);
    for version in ["version", "appVersion"] {
        assert_eq!(about[version], env!("CARGO_PKG_VERSION"), "{version} of Chart.yaml");
    }
    let seconds = (LEAVE_MS + SHUTDOWN_MS).div_ceil(1_000);
    let helpers = read(&chart().join("templates/_helpers.tpl"));
    let define = format!("{{{{- define \"headroom.shutdownSeconds\" -}}}}{seconds}{{{{- end -}}}}");
    assert!(helpers.contains(&define), "a shutdown takes {seconds} s: change headroom.shutdownSeconds");
}
