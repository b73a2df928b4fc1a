//! The Helm chart: its values and its schema here, and what Helm makes of them in `helm`, which needs Helm.

mod helm;
mod objects;
mod schema;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of the chart.
fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/headroom")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML text. Empty ones are left out.
fn documents(text: &str) -> Vec<Value> {
    let parsed = serde_norway::Deserializer::from_str(text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap_or_else(|error| panic!("{error}:\n{text}")));
    parsed.filter(|document: &Value| !document.is_null()).collect()
}

/// The file of values in `helm/headroom/ci` with this name.
fn values_file(name: &str) -> PathBuf {
    chart().join(format!("ci/{name}-values.yaml"))
}

/// The values of every file in `helm/headroom/ci`, by name.
fn value_files() -> BTreeMap<String, Value> {
    let listed =
        fs::read_dir(chart().join("ci")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = listed.map(|file| file.strip_suffix("-values.yaml").expect(&file).to_owned());
    names.map(|name| (name.clone(), documents(&read(&values_file(&name))).remove(0))).collect()
}
