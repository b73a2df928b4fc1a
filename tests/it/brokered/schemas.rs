//! Schemas at a real registry: registered by a person, found by a server, and refused where older readers would be lost.

use super::topics::{Place, registry};
use crate::cli::assert_says;
use crate::process::{Served, run};
use crate::rig::Rig;
use headroom::access::AUDIT_LOG;
use headroom::log::kafka::schema::framing::{Unread, Writer};
use headroom::log::kafka::schema::registry::{Registration, Subject, subjects};
use headroom::log::kafka::{Framing, Topics};
use headroom::wire::frame::{self, FRAME_BYTES};
use headroom::wire::schema::{COMMAND, fingerprint_of};
use std::path::Path;

/// The binary, told of a registry as well.
fn schemas(place: &Place, action: &str, url: &str) -> (i32, String) {
    let ended = place.headroom(&["schemas", action, "--registry-url", url, "--registry-timeout-ms", "10000"]);
    assert!(ended.err.lines().all(|line| line.contains(AUDIT_LOG)), "{}{}", ended.out, ended.err);
    (ended.code, ended.out)
}

fn put(url: String, body: &str) {
    let put = ureq::put(url).content_type("application/vnd.schemaregistry.v1+json").send(body);
    assert_eq!(put.unwrap().status(), 200);
}

#[test]
fn schemas_are_checked_registered_once_and_held_to_their_level() {
    let rig = Rig::shared();
    let place = Place::on(rig, "known");
    let url = rig.registry_url();
    let (code, told) = schemas(&place, "check", url);
    assert_eq!(code, 1, "a server would not start: {told}");
    let versions = COMMAND.len();
    let known = format!("known.commands-value: {versions} versions of the schema, all readable by each other\n");
    assert!(told.starts_with(&known), "{told}");
    assert!(
        told.contains("known.events-value: version 1 is not registered: run headroom schemas register\n"),
        "{told}"
    );
    let (code, registered) = schemas(&place, "register", url);
    assert_eq!(code, 0, "{registered}");
    assert_eq!(schemas(&place, "register", url), (0, registered.clone()), "the same ids");
    let ids = subjects(&Topics::of("known")).map(|subject| (registry(rig).ids(&subject).unwrap()[0].unwrap(), subject));
    for (id, Subject { name, level, .. }) in &ids {
        assert!(
            registered.contains(&format!("{name}: version 1 has id {id}, compatibility {level}\n")),
            "{registered}"
        );
    }
    assert_eq!(schemas(&place, "check", url).0, 0);

    put(format!("{url}/config/known.events-value"), r#"{"compatibility": "NONE"}"#);
    let (code, told) = schemas(&place, "check", url);
    let lax = "known.events-value: compatibility is NONE instead of FULL_TRANSITIVE: run headroom schemas register\n";
    assert!(code == 1 && told.contains(lax), "{told}");
    schemas(&place, "register", url);
    assert_eq!(schemas(&place, "check", url).0, 0);
}

const FIRST: &str = r#"{"type": "record", "name": "T", "fields": [
    {"name": "a", "type": ["null", "long"], "default": null}]}"#;
const SECOND: &str = r#"{"type": "record", "name": "T", "fields": [
    {"name": "b", "type": ["null", "long"], "default": null}]}"#;
/// Its neighbour does not know `a`; the first does, as another type.
const THIRD: &str = r#"{"type": "record", "name": "T", "fields": [
    {"name": "a", "type": ["null", "string"], "default": null}]}"#;
/// Nobody else's records have `must`.
const WORSE: &str = r#"{"type": "record", "name": "T", "fields": [{"name": "must", "type": "long"}]}"#;

#[test]
fn a_schema_that_others_cannot_read_is_refused() {
    let registry = registry(Rig::shared());
    let subject = |name: &str, level, versions| Subject { name: format!("strict.{name}"), level, versions };
    let good = subject("transitive", "FULL_TRANSITIVE", &[FIRST, SECOND]);
    assert_eq!(registry.registrations(&good).unwrap().1, [Registration::Acceptable; 2]);
    let ids = registry.register(&good).unwrap();
    assert_eq!(registry.ids(&good).unwrap(), [Some(ids[0]), Some(ids[1])]);
    for bad in [&[FIRST, SECOND, THIRD], &[FIRST, SECOND, WORSE]] {
        let bad = Subject { versions: bad, ..good.clone() };
        let (level, registrations) = registry.registrations(&bad).unwrap();
        assert_eq!((level.as_deref(), registrations[2]), (Some("FULL_TRANSITIVE"), Registration::Refused));
        let error = registry.register(&bad).unwrap_err();
        assert!(error.detail.contains("cannot register strict.transitive: "), "{error}");
        assert_eq!(registry.ids(&bad).unwrap()[2], None);
    }
    // What only the older versions forbid is let pass where only the last one counts.
    let lenient = subject("full", "FULL", &[FIRST, SECOND, THIRD]);
    assert_eq!(registry.register(&lenient).unwrap().len(), 3);
}

#[test]
fn a_server_starts_without_the_registry_when_it_has_the_ids() {
    let rig = Rig::start(1, true);
    let place = Place::on(&rig, "headroom");
    place.apply();
    let registry = registry(&rig);
    let dir = tempfile::tempdir().unwrap();
    let told = place.preflight(Some(&registry), dir.path()).unwrap_err();
    assert!(told.0.len() == 1 && told.0[0].contains("does not know headroom.commands-value version 1, "), "{told}");
    assert_eq!(schemas(&place, "register", &registry.url).0, 0);

    let framing = place.preflight(Some(&registry), dir.path()).unwrap().framing;
    let fingerprint = fingerprint_of(COMMAND[0]).unwrap();
    let bytes = [frame::begin(fingerprint, FRAME_BYTES), b"datum".to_vec()].concat();
    let id = registry.ids(&subjects(&Topics::of("headroom"))[0]).unwrap()[0].unwrap();
    let expected = [&[0], id.to_be_bytes().as_slice(), b"datum"].concat();
    assert_eq!(framing.outgoing(bytes.clone()), expected);

    // Somebody registers the same schema in other words: another id, and the same records.
    let reworded = COMMAND[0].replacen("What is asked", "What somebody asks", 1);
    let reworded = Subject { name: "reworded".to_owned(), level: "FULL", versions: vec![&*reworded.leak()].leak() };
    let other = registry.register(&reworded).unwrap()[0];
    assert_ne!(other, id);
    let theirs = [&[0], other.to_be_bytes().as_slice(), b"datum"].concat();
    let read = |framing: &Framing, bytes: &[u8]| framing.incoming_awaited(bytes, None, Writer::Anyone);
    assert_eq!(read(&framing, &theirs), Ok(bytes.clone()), "it was asked about");
    let foreign = [0, 0x6E, 0, 0, 1];
    assert_eq!(read(&framing, &foreign), Ok(foreign.to_vec()), "the registry says that there is none");

    // What it gave for other topics stands in for nothing.
    let mistyped = Place::on(&rig, "headrom");
    mistyped.apply();
    let told = mistyped.preflight(Some(&registry), dir.path()).unwrap_err().to_string();
    assert!(told.contains("does not know headrom.commands-value version 1, "), "{told}");

    rig.registry("stop");
    let framing = place.preflight(Some(&registry), dir.path()).unwrap().framing;
    assert_eq!(framing.outgoing(bytes.clone()), expected);
    assert_eq!((read(&framing, &expected), read(&framing, &theirs)), (Ok(bytes.clone()), Ok(bytes)));
    let unasked = read(&framing, &foreign).unwrap_err();
    assert!(matches!(unasked, Unread::Unasked { id: 0x6E00_0001, .. }), "nobody to ask: {unasked}");
    let elsewhere = tempfile::tempdir().unwrap();
    let told = place.preflight(Some(&registry), elsewhere.path()).unwrap_err();
    assert_eq!(told.0.len(), 1, "{told}");
    let why = format!("the registry at {} cannot be asked: ", registry.url);
    assert!(told.0[0].starts_with(&why), "{told}");
    assert!(
        told.0[0].contains(", and the data directory has no ids for headroom.commands-value version 1, "),
        "{told}"
    );
    rig.registry("start");
    assert!(place.preflight(Some(&registry), elsewhere.path()).is_ok());
}

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The story: a cluster is made ready, and its topics are looked at before any schema is registered. Later somebody looks at
/// the log from a machine that has none of the registry's ids, while the registry is away. Whoever only reads needs none; what
/// writes an event says what it lacks, and where that is.
#[test]
fn what_only_reads_needs_neither_the_registry_nor_its_ids() {
    let rig = Rig::shared();
    let place = Place::on(rig, "unasked");
    assert_eq!(place.headroom(&["topics", "apply", "--partitions", "2"]).code, 0);
    let url = rig.registry_url();
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let by = |url: &str, dir: &Path, args: &[&str]| {
        run(place.command(args).env("HEADROOM_REGISTRY_URL", url).env("HEADROOM_DATA_DIR", dir))
    };
    for how in ["plan", "check"] {
        let told = by(url, elsewhere.path(), &["topics", how]);
        assert_eq!(told.code, 0, "no schema is registered yet: {}{}", told.out, told.err);
    }
    assert_eq!(schemas(&place, "register", url).0, 0);
    let patient = ["--deadline-default-ms", "5000", "--registry-timeout-ms", "10000"];
    let mut serving = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    serving.args(patient);
    let server = Served::start(serving.env("HEADROOM_REGISTRY_URL", url).env("HEADROOM_DATA_DIR", dir.path()));
    server.sell_out("slot-1");
    assert_eq!(server.running.terminate().code, 0);

    let reading: [&[&str]; 7] = [
        &["topics", "plan"],
        &["topics", "check"],
        &["cat"],
        &["state"],
        &["commands", "check"],
        &["verify"],
        &["dead-letters", "list"],
    ];
    for args in reading {
        let told = by(NOWHERE, elsewhere.path(), args);
        assert_eq!(told.code, 0, "{args:?}: {}{}", told.out, told.err);
        assert!(!told.err.contains(NOWHERE), "{args:?}: {}", told.err);
    }
    let skip = ["commands", "skip", "--partition", "0", "--reason", "told by the tests"];
    let refused = by(NOWHERE, elsewhere.path(), &skip);
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.err);
    let lacks = "the data directory has no ids for unasked.commands-value version 1, ";
    assert_says(&refused.err, &[lacks, "a server with --data-dir", "a configuration without registry_url"]);
    let without = place.headroom(&skip);
    assert_eq!(without.code, 0, "{}{}", without.out, without.err);
}
