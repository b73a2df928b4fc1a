//! The checks before a server starts on a cluster. All problems are reported at once.

use super::admin::Admin;
use super::coordination;
use super::local_cache;
use super::manifest::Pinned;
use super::plan::{Difference, compare};
use super::topics::TopicRequirements;
use crate::log::kafka::client::reader::{Reader, TopicPartition};
use crate::log::kafka::data::record;
use crate::log::kafka::schema::framing::{Framing, Source, Writer};
use crate::log::kafka::schema::registry::{Registry, subjects};
use crate::log::kafka::schema::resolver::Ask;
use crate::log::kafka::{Cluster, Topics};
use crate::log::{LogError, Manifest};
use crate::threads::{aside, unless_it_panics};
use crate::wire::frame::Fingerprint;
use crate::wire::schema;
use parking_lot::Mutex;
use rdkafka::message::Message;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a server starts with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The cluster and the log's topics on it.
    pub cluster: &'a Cluster,
    /// What the topics must have at least.
    pub asked: TopicRequirements,
    /// The id that the cluster must have; `None` takes that of the first start.
    pub cluster_id: Option<&'a str>,
    /// The schema registry, if one is configured.
    pub registry: Option<&'a Registry>,
    /// The directory that remembers the cluster, its topics and the registry's ids.
    pub data_dir: &'a Path,
}

/// The result of checks that found no problem.
#[derive(Debug)]
pub struct Ready {
    /// What the log was created with.
    pub manifest: Manifest,
    /// The feature level that it has now.
    pub level: u32,
    /// The id of the cluster that answered.
    pub cluster_id: String,
    /// Translates the schema frames of records.
    pub framing: Framing,
}

impl Ready {
    fn of(pinned: &Pinned, cluster_id: String, framing: Framing) -> Ready {
        Ready { manifest: pinned.manifest, level: pinned.feature_level, cluster_id, framing }
    }
}

/// Every problem that was found. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreflightErrors(pub Vec<String>);

impl fmt::Display for PreflightErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the log cannot be used, for {count} reason{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

impl std::error::Error for PreflightErrors {}

/// Checks everything and changes nothing on the cluster. It blocks, with time limits: do not call it on an async worker.
///
/// # Errors
/// [`PreflightErrors`] with all reasons not to start.
pub fn preflight(start: &Start<'_>) -> Result<Ready, PreflightErrors> {
    let mut reasons = Vec::new();
    let admin = admin(start, &mut reasons);
    let found = admin.as_ref().and_then(|admin| cluster(admin, start, true, &mut reasons));
    let framing = framing(start, true, &mut reasons);
    // Events are not looked at when the topics already have problems.
    let reader = match (&found, &framing) {
        (Some((pinned, _)), Some(framing)) if reasons.is_empty() => {
            unread(start, &pinned.manifest, framing, &mut reasons)
        }
        _ => None,
    };
    match (found, framing) {
        (Some((pinned, cluster_id)), Some(framing)) if reasons.is_empty() => {
            match local_cache::keep_cluster_id(start.data_dir, &cluster_id) {
                Ok(()) => {
                    close((admin, reader));
                    Ok(Ready::of(&pinned, cluster_id, framing))
                }
                Err(error) => Err(PreflightErrors(vec![format!("cannot write {}: {error}", start.data_dir.display())])),
            }
        }
        _ => Err(PreflightErrors(reasons)),
    }
}

/// Writes the names of a log's topics into the data directory. Call it when the log is known to be the one that the directory
/// has seen.
///
/// # Errors
/// [`std::io::Error`] when the file cannot be written.
pub fn keep_topics(data_dir: &Path, topics: &Topics) -> std::io::Result<()> {
    local_cache::keep_topics(data_dir, topics)
}

/// The checks for tools that only read: the topics need not be fit for a server, and nothing is remembered. The registry is
/// asked only about records that do not say under which schema they were written.
///
/// # Errors
/// [`PreflightErrors`]: all reasons why the log cannot be read.
pub fn look(start: &Start<'_>) -> Result<Ready, PreflightErrors> {
    looked(start, reading)
}

/// The same for tools that also write events, under the registry's ids as a server does.
///
/// # Errors
/// As [`look`].
pub fn look_to_write(start: &Start<'_>) -> Result<Ready, PreflightErrors> {
    looked(start, |start, reasons| framing(start, false, reasons))
}

fn looked(
    start: &Start<'_>,
    framing: impl FnOnce(&Start<'_>, &mut Vec<String>) -> Option<Framing>,
) -> Result<Ready, PreflightErrors> {
    let mut reasons = Vec::new();
    let found = admin(start, &mut reasons).and_then(|admin| cluster(&admin, start, false, &mut reasons));
    let framing = framing(start, &mut reasons);
    match (found, framing) {
        (Some((pinned, cluster_id)), Some(framing)) if reasons.is_empty() => {
            Ok(Ready::of(&pinned, cluster_id, framing))
        }
        _ => Err(PreflightErrors(reasons)),
    }
}

/// Closes clients in the background: it takes the library a quarter of a second, for which no start should wait.
fn close(clients: impl Send + 'static) {
    // Without a thread they are closed here.
    drop(aside(move || drop(clients)));
}

/// Who asks the cluster. `None` comes with a reason.
fn admin(start: &Start<'_>, reasons: &mut Vec<String>) -> Option<Admin> {
    Admin::new(start.cluster.clone()).map_err(|error| reasons.push(error.to_string())).ok()
}

/// The manifest and the cluster's id. `None` comes with a reason.
fn cluster(admin: &Admin, start: &Start<'_>, serves: bool, reasons: &mut Vec<String>) -> Option<(Pinned, String)> {
    let told = |reasons: &mut Vec<String>, error: LogError| reasons.push(error.to_string());
    // Without an answer here, further questions would only fail one by one.
    let id = admin.cluster_id().map_err(|error| told(reasons, error)).ok()?;
    let brokers = &start.cluster.brokers;
    if let Some(wanted) = start.cluster_id.filter(|wanted| *wanted != id) {
        reasons.push(format!("the cluster at {brokers} is {id}, and kafka_cluster_id = {wanted}"));
    }
    if serves {
        foreign(start, &id, reasons);
    }
    let seen = admin.look().map_err(|error| told(reasons, error)).ok()?;
    let differences = compare(&start.asked, &seen);
    let is_bad = |difference: &Difference| if serves { difference.is_unsafe() } else { difference.is_unreadable() };
    let (bad, odd): (Vec<_>, Vec<_>) = differences.iter().partition(|difference| is_bad(difference));
    for difference in odd.iter().filter(|_| serves) {
        tracing::warn!("{difference}: headroom topics apply corrects it");
    }
    if serves {
        rests_on(start, admin, reasons);
    }
    if !bad.is_empty() {
        let mut bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
        // The advice is part of the last reason, so that it is not counted as one.
        if let Some(last) = bad.last_mut() {
            last.push_str("\n  headroom topics plan says what can be done about the topics");
        }
        reasons.extend(bad);
    }
    // A missing manifest is one of the differences.
    Some((seen.manifest.ok()??, id))
}

/// Checks what every "yes" depends on beside the log's own topics.
fn rests_on(start: &Start<'_>, admin: &Admin, reasons: &mut Vec<String>) {
    let verdict = coordination::judge(&admin.coordination(), &start.asked);
    for warning in verdict.warnings {
        tracing::warn!("{warning}");
    }
    reasons.extend(verdict.reasons);
}

/// Reports every partition whose newest event this process cannot read: it could neither follow nor own it. Damaged events
/// are not reported here: no version can read them, and the partition reports them by itself. Returns the reader, which is
/// to be closed.
fn unread(start: &Start<'_>, manifest: &Manifest, framing: &Framing, reasons: &mut Vec<String>) -> Option<Reader> {
    let reader = Reader::ending(start.cluster).map_err(|error| reasons.push(error.to_string())).ok()?;
    for partition in 0..manifest.partitions {
        match newest(
            &reader,
            TopicPartition { topic: &start.cluster.topics.events, partition },
            framing,
            start.registry.is_some(),
        ) {
            Ok(None) => {}
            Ok(Some(why)) => reasons.push(format!("the newest event cannot be read: {why}")),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Some(reader)
}

/// Why the newest event of a partition cannot be read; `None` when it can be, or when there is none.
fn newest(
    reader: &Reader,
    at: TopicPartition<'_>,
    framing: &Framing,
    has_registry: bool,
) -> Result<Option<LogError>, LogError> {
    let bounds = reader.bounds(at)?;
    if bounds.first >= bounds.end {
        return Ok(None);
    }
    let last = reader.last(at, bounds, |message| Ok(record::event(message).map(|event| (event, message.offset()))))?;
    Ok(last.and_then(|((bytes, schema), offset)| {
        // With a registry the schema header counts. Without one, older events without the header must be readable too.
        let schema = schema.filter(|_| has_registry);
        let read = framing.incoming_awaited(&bytes, schema, Writer::Owner);
        read.err().map(|why| why.at(at, offset))
    }))
}

fn foreign(start: &Start<'_>, id: &str, reasons: &mut Vec<String>) {
    let brokers = &start.cluster.brokers;
    let dir = start.data_dir.display();
    match local_cache::cluster_id(start.data_dir) {
        Ok(Some(first)) if first != id => {
            reasons.push(format!(
                "the cluster at {brokers} is {id}, and {dir} was used with {first}: name another data_dir"
            ));
        }
        Ok(_) => {}
        Err(error) => reasons.push(format!("cannot read {dir}: {error}")),
    }
    match local_cache::other_topics(start.data_dir, &start.cluster.topics) {
        Ok(others) => reasons.extend(others.iter().map(|(now, before)| {
            format!("{now}, and {dir} was used with {before}: put the name right, or name another data_dir")
        })),
        Err(error) => reasons.push(format!("cannot read {dir}: {error}")),
    }
}

/// A framing of which nothing is written: records say by their fingerprint under which schema they were written. Of those that
/// do not, the remembered ids are known, and the registry is asked about all others when they are met. `None` comes with a reason.
fn reading(start: &Start<'_>, reasons: &mut Vec<String>) -> Option<Framing> {
    let Some(registry) = start.registry else { return Some(Framing::none()) };
    framed(registry, None, (local_cache::ids(start.data_dir, &registry.url), 0), reasons)
}

/// The framing with the ids of all schemas that this program writes or reads. A server remembers the ids. `None` comes with a
/// reason.
fn framing(start: &Start<'_>, serves: bool, reasons: &mut Vec<String>) -> Option<Framing> {
    let Some(registry) = start.registry else { return Some(Framing::none()) };
    let mut ids = local_cache::ids(start.data_dir, &registry.url);
    let (mut unknown, mut current) = (Vec::new(), 0usize);
    let mut failed = None;
    for subject in subjects(&start.cluster.topics) {
        // After one failure the registry is not waited for again.
        let answers = failed.clone().map_or_else(|| registry.ids(&subject), Err);
        let answers = answers.unwrap_or_else(|error| {
            failed = Some(error);
            vec![None; subject.versions.len()]
        });
        for ((version, text), id) in (1..).zip(subject.versions).zip(answers) {
            let Some(fingerprint) = schema::fingerprint_of(text) else { continue };
            match id {
                // The present id is written; ids from before are still read.
                Some(id) => {
                    ids.retain(|known| *known != (fingerprint, id));
                    ids.push((fingerprint, id));
                    current = current.saturating_add(1);
                }
                // Remembered ids count only while the registry does not answer.
                None if failed.is_some() && ids.iter().any(|(known, _)| *known == fingerprint) => {}
                None => unknown.push(format!("{} version {version}", subject.name)),
            }
        }
    }
    let missing = unknown.join(", ");
    match failed {
        Some(error) if unknown.is_empty() => {
            tracing::warn!("{error}: continuing with the schema ids that were remembered in the data directory")
        }
        Some(error) => {
            let advice =
                "; name the data directory of a server with --data-dir, or take a configuration without registry_url";
            let advice = if serves { "" } else { advice };
            reasons.push(format!("{error}, and the data directory has no ids for {missing}{advice}"));
        }
        None if unknown.is_empty() => {
            if serves && let Err(error) = local_cache::keep_ids(start.data_dir, &registry.url, &ids) {
                reasons.push(format!("cannot write {}: {error}", start.data_dir.display()));
            }
        }
        None => reasons.push(format!(
            "the registry at {} does not know {missing}: headroom schemas register makes them known",
            registry.url
        )),
    }
    if !unknown.is_empty() {
        return None;
    }
    let dir = serves.then(|| start.data_dir.to_owned());
    framed(registry, dir, (ids, current), reasons)
}

/// A framing with these ids, which asks the registry about all others as [`ask`] says. `None` comes with a reason.
///
/// A later version may have used the directory, and have left ids of its own schemas there. They stay in the file, and are none
/// that this version reads: their records wait for that version.
fn framed(
    registry: &Registry,
    dir: Option<PathBuf>,
    (mut ids, current): (Vec<(Fingerprint, u32)>, usize),
    reasons: &mut Vec<String>,
) -> Option<Framing> {
    let ours = schema::known();
    let ask = ask(registry.clone(), dir, ours.clone(), (ids.clone(), current));
    ids.retain(|(fingerprint, _)| ours.contains(fingerprint));
    let source = Source { name: registry.url.clone(), patience: registry.timeout, ask };
    Framing::new(ids, source).map_err(|error| reasons.push(error.to_string())).ok()
}

/// Asks about ids that were not known at the start: another text of one of our schemas, which have the fingerprints `ours`, or
/// another program's schema. The last `current` of the known ids are those that the registry gives now.
fn ask(
    registry: Registry,
    dir: Option<PathBuf>,
    ours: BTreeSet<Fingerprint>,
    (known, current): (Vec<(Fingerprint, u32)>, usize),
) -> Box<Ask> {
    // If the registry gave none now, those of the last time count.
    let current = current.max(ours.len());
    let known = Mutex::new(known);
    Box::new(move |ids| {
        let said = registry.schemas(ids).into_iter().zip(ids).map(|(answer, id)| {
            let found = answer?.and_then(|text| fingerprint(&text));
            let Some(fingerprint) = found.filter(|fingerprint| ours.contains(fingerprint)) else { return Ok(None) };
            let mut known = known.lock();
            local_cache::with_id(&mut known, current, (fingerprint, *id));
            let kept = dir.as_ref().map_or(Ok(()), |dir| local_cache::keep_ids(dir, &registry.url, &known));
            if let Err(error) = kept {
                tracing::warn!(%error, "cannot remember the id of a schema: the registry will be asked again after the next start");
            }
            Ok(Some(fingerprint))
        });
        said.collect()
    })
}

/// The fingerprint of a schema in the registry, which anybody may have written; none where the text is no schema of Avro. At some
/// that are the library panics: it takes what somebody says of a field as `size` or `order` for what Avro says by these names. No
/// schema of ours has any.
fn fingerprint(text: &str) -> Option<Fingerprint> {
    unless_it_panics(|| schema::fingerprint_of(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::schema::framing::Unread;
    use std::time::Duration;

    /// The story: a process was upgraded and taken back, and meanwhile the others went on to a higher level. The ids that the later
    /// version has left in its directory do not make it decide commands that it cannot read, nor break the chain of events.
    #[test]
    fn the_ids_that_a_later_version_has_left_do_not_make_its_schemas_known() {
        const LATER: Fingerprint = [0xAB; 8];
        let own = schema::fingerprint_of(schema::COMMAND[0]).unwrap();
        let registry = Registry { url: "http://127.0.0.1:1".to_owned(), timeout: Duration::from_secs(1), user: None };
        let (dir, mut reasons) = (tempfile::tempdir().unwrap(), Vec::new());
        let ids = vec![(LATER, 9), (own, 7)];
        local_cache::keep_ids(dir.path(), &registry.url, &ids).unwrap();
        let framing = framed(&registry, Some(dir.path().to_owned()), (ids.clone(), 1), &mut reasons).unwrap();
        assert_eq!(reasons, Vec::<String>::new());
        let record = |id: u8| [0, 0, 0, 0, id, 1, 2, 3];
        for by in [Writer::Anyone, Writer::Owner] {
            assert_eq!(framing.incoming(&record(9), Some(LATER), by), Err(Unread::Newer(LATER)), "{by:?}");
            assert!(framing.incoming(&record(7), None, by).is_ok(), "{by:?}");
        }
        assert!(framing.incoming(&record(9), None, Writer::Owner).is_err(), "nor without its name");
        assert_eq!(local_cache::ids(dir.path(), &registry.url), ids, "whoever goes on to that version has them");
    }

    /// The story: a program of somebody else writes into the wrong topic, and says of a field what its values are.
    #[test]
    fn a_schema_at_which_the_library_panics_is_none_of_ours() {
        let said = [r#""size":"large""#, r#""scale":null"#, r#""precision":0.5"#, r#""order":1"#, r#""items":[true]"#];
        for said in said {
            let field = format!(r#"{{"name":"amount","type":"long",{said}}}"#);
            let text = format!(r#"{{"type":"record","name":"Sale","fields":[{field}]}}"#);
            assert_eq!(fingerprint(&text), None, "{said}");
        }
        assert_eq!(fingerprint("no schema"), None);
        let own = schema::COMMAND[0];
        assert!(fingerprint(own).is_some_and(|found| schema::fingerprint_of(own) == Some(found)));
    }
}
