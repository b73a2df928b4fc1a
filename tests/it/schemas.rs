//! Every version of a schema ever released can read what every other one wrote, so readers and writers may be upgraded
//! in any order and a log can be read for ever.

use headroom::wire::schema::{COMMAND, EVENT, REPLY, SNAPSHOT, incompatibilities};
use std::path::PathBuf;

#[test]
fn every_version_reads_every_other() {
    for versions in [COMMAND, EVENT, REPLY, SNAPSHOT] {
        assert_eq!(incompatibilities(versions), Vec::<String>::new());
    }
}

#[test]
fn an_incompatible_version_is_found() {
    let v1 = EVENT[0];
    let changes = [
        // A field that older records do not have, and nothing to put in its place.
        (r#""fields": ["#, r#""fields": [{"name": "must", "type": "long"},"#),
        // Another type under the same name.
        (r#""type": ["null", "int"]"#, r#""type": ["null", "string"]"#),
        (r#""size": 16"#, r#""size": 32"#),
    ];
    for (from, to) in changes {
        let v2 = v1.replacen(from, to, 1);
        assert_ne!(v1, v2, "{from}");
        assert_ne!(incompatibilities(&[v1, &v2]), Vec::<String>::new(), "{to}");
    }
    let v2 =
        v1.replacen(r#""fields": ["#, r#""fields": [{"name": "may", "type": ["null", "long"], "default": null},"#, 1);
    assert_eq!(incompatibilities(&[v1, &v2]), Vec::<String>::new());
}

#[test]
fn everything_but_the_kind_may_be_null_and_everything_is_explained() {
    for text in [COMMAND, EVENT, REPLY, SNAPSHOT].into_iter().flatten() {
        let schema: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(schema["namespace"], "headroom");
        for (at, field) in schema["fields"].as_array().unwrap().iter().enumerate() {
            assert!(field["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{field}");
            if at == 0 {
                assert_eq!((&field["name"], &field["default"]), (&"kind".into(), &"Unknown".into()));
            } else {
                assert!(field["type"][0] == "null" && field.get("default").is_some_and(|d| d.is_null()), "{field}");
            }
        }
    }
}

#[test]
fn every_schema_file_is_embedded() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let embedded = [COMMAND, EVENT, REPLY, SNAPSHOT].concat();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "avsc")).collect();
    assert_eq!(files.len(), embedded.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(embedded.contains(&text.as_str()), "{}", file.display());
    }
}

/// The page for those who read events explains every kind of the schema, the one that no program writes included.
#[test]
fn every_kind_of_event_is_explained_to_its_readers() {
    let page = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas/README.md")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(EVENT.last().unwrap()).unwrap();
    let kinds = schema["fields"][0]["type"]["symbols"].as_array().unwrap();
    // The first is that of kinds which the reader does not know.
    for kind in kinds.iter().skip(1).map(|kind| kind.as_str().unwrap()) {
        assert!(page.contains(&format!("\n| `{kind}` | ")), "{kind}");
    }
    let newest = format!("`event.v{}.avsc`", EVENT.len());
    assert!(page.contains(&newest), "{newest}");
}
