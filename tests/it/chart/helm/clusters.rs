//! What holds while a release changes: in a rolling upgrade, and under other tools than Helm.

use super::{list, object, objects, pod};
use serde_json::json;

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
        let of_release = object(&release, "ConfigMap", map)["data"]["headroom.toml"].clone();
        assert_eq!(pod["metadata"]["annotations"]["headroom.toml"], of_release, "{file}: {kind}");
    }
}
