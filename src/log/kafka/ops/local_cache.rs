//! What a data directory remembers of a cluster: its id and the names of the log's topics, so that other ones are refused,
//! and the registry's ids, so that a server can start without the registry. Losing the files loses only that.

use crate::limits::REGISTRY_ANSWERS_MAX;
use crate::log::kafka::Topics;
use crate::wire::frame::Fingerprint;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const CLUSTER_FILE: &str = "cluster.id";
const TOPICS_FILE: &str = "topics";
const IDS_FILE: &str = "registry.ids";
/// Most bytes that are read of each file.
const BYTES_MAX: u64 = 64 << 10;

/// The id of the cluster that this directory was first used with.
pub(super) fn cluster_id(dir: &Path) -> io::Result<Option<String>> {
    let id = read(&dir.join(CLUSTER_FILE))?.map(|text| text.trim().to_owned());
    // A power cut has emptied the file under versions that did not flush it.
    Ok(id.filter(|id| !id.is_empty()))
}

pub(super) fn keep_cluster_id(dir: &Path, id: &str) -> io::Result<()> {
    replace(dir, CLUSTER_FILE, &format!("{id}\n"))
}

/// The topic settings that differ from those that this directory was used with: each as it is now, and as it was.
pub(super) fn other_topics(dir: &Path, topics: &Topics) -> io::Result<Vec<(String, String)>> {
    let before = read(&dir.join(TOPICS_FILE))?.unwrap_or_default();
    let before: BTreeMap<&str, &str> = before.lines().filter_map(|line| line.split_once(" = ")).collect();
    let differs = |(setting, now): (&&str, &str)| {
        let before = before.get(setting).filter(|before| **before != now)?;
        Some((format!("{setting} = {now}"), format!("{setting} = {before}")))
    };
    Ok(Topics::SETTINGS.iter().zip(topics.all()).filter_map(differs).collect())
}

pub(super) fn keep_topics(dir: &Path, topics: &Topics) -> io::Result<()> {
    let lines = Topics::SETTINGS.iter().zip(topics.all()).map(|(setting, name)| format!("{setting} = {name}\n"));
    replace(dir, TOPICS_FILE, &lines.collect::<String>())
}

/// Adds an id that was learned. The last `current` ids are those that the registry gives now. Past the bound the oldest of the
/// others is dropped.
pub(super) fn with_id(ids: &mut Vec<(Fingerprint, u32)>, current: usize, learned: (Fingerprint, u32)) {
    // In front: of several ids for one schema the last is written, and all are read.
    ids.insert(0, learned);
    let others = ids.len().saturating_sub(current);
    if others > REGISTRY_ANSWERS_MAX {
        ids.remove(others.saturating_sub(1));
    }
}

/// The ids that this registry gave. Empty when the file is of another registry or damaged.
pub(super) fn ids(dir: &Path, url: &str) -> Vec<(Fingerprint, u32)> {
    let text = read(&dir.join(IDS_FILE)).ok().flatten().unwrap_or_default();
    let mut lines = text.lines();
    if lines.next() != Some(url) {
        return Vec::new();
    }
    let parsed = lines.map(|line| {
        let (id, hex) = line.split_once(' ')?;
        let fingerprint = u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 16)?;
        Some((fingerprint.to_be_bytes(), id.parse().ok()?))
    });
    parsed.collect::<Option<_>>().unwrap_or_default()
}

pub(super) fn keep_ids(dir: &Path, url: &str, ids: &[(Fingerprint, u32)]) -> io::Result<()> {
    let mut text = format!("{url}\n");
    for (fingerprint, id) in ids {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{id} {:016x}", u64::from_be_bytes(*fingerprint));
    }
    replace(dir, IDS_FILE, &text)
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file. A reader finds the old or the new content, never a mix, also after a power cut.
fn replace(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let new = dir.join(format!("{name}.new"));
    fs::write(&new, text)?;
    File::open(&new)?.sync_all()?;
    fs::rename(new, dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [(Fingerprint, u32); 2] = [([0, 2, 3, 4, 5, 6, 7, 8], 1), ([0xff; 8], u32::MAX)];

    #[test]
    fn what_is_kept_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        assert_eq!((cluster_id(&dir).unwrap(), ids(&dir, "http://r")), (None, vec![]));
        keep_cluster_id(&dir, "abc").unwrap();
        keep_ids(&dir, "http://r", &IDS).unwrap();
        assert_eq!((cluster_id(&dir).unwrap().as_deref(), ids(&dir, "http://r")), (Some("abc"), IDS.to_vec()));
        assert_eq!(ids(&dir, "http://other"), []);
    }

    /// The story: the power fails right after a start, and the file system has the names of the files and not their content. The
    /// next start must not take that for another cluster.
    #[test]
    fn files_that_are_empty_remember_nothing() {
        let dir = tempfile::tempdir().unwrap();
        [CLUSTER_FILE, TOPICS_FILE, IDS_FILE].iter().for_each(|file| fs::write(dir.path().join(file), "").unwrap());
        assert_eq!((cluster_id(dir.path()).unwrap(), ids(dir.path(), "http://r")), (None, vec![]));
        assert_eq!(other_topics(dir.path(), &Topics::of("h")).unwrap(), []);
    }

    #[test]
    fn as_many_ids_as_are_learned_fit_the_file_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = IDS.to_vec();
        for id in 0..2 * u32::try_from(REGISTRY_ANSWERS_MAX).unwrap() {
            with_id(&mut known, IDS.len(), ([0xee; 8], 4_000_000_000 + id));
        }
        assert_eq!((known.len(), &known[REGISTRY_ANSWERS_MAX..]), (REGISTRY_ANSWERS_MAX + IDS.len(), &IDS[..]));
        assert_eq!(known[0].1, 4_000_000_000 + 2 * u32::try_from(REGISTRY_ANSWERS_MAX).unwrap() - 1);
        keep_ids(dir.path(), "http://r", &known).unwrap();
        assert_eq!(ids(dir.path(), "http://r"), known);
    }

    #[test]
    fn topics_that_differ_are_told_by_their_settings() {
        let dir = tempfile::tempdir().unwrap();
        let topics = Topics::of("h");
        assert_eq!(other_topics(dir.path(), &topics).unwrap(), []);
        keep_topics(dir.path(), &topics).unwrap();
        assert_eq!(other_topics(dir.path(), &topics).unwrap(), []);
        let mistyped = Topics { events: "h.event".to_owned(), ..topics };
        let told = ("topic_events = h.event".to_owned(), "topic_events = h.events".to_owned());
        assert_eq!(other_topics(dir.path(), &mistyped).unwrap(), [told]);
    }

    #[test]
    fn a_setting_that_an_older_version_had_is_no_other_topic() {
        let dir = tempfile::tempdir().unwrap();
        let before = "topic_commands = h.commands\ntopic_events = h.events\ntopic_replies = h.replies\n\
                      topic_snapshots = h.snapshots\ntopic_dead_letters = h.dead-letters\ntopic_manifest = h.manifest\n";
        fs::write(dir.path().join(TOPICS_FILE), before).unwrap();
        assert_eq!(other_topics(dir.path(), &Topics::of("h")).unwrap(), []);
        let settings = |(now, _): (String, String)| now;
        let others: Vec<_> = other_topics(dir.path(), &Topics::of("g")).unwrap().into_iter().map(settings).collect();
        assert_eq!(others.len(), Topics::SETTINGS.len(), "{others:?}");
    }

    #[test]
    fn odd_ids_are_none() {
        let dir = tempfile::tempdir().unwrap();
        for odd in ["", "http://r", "http://r\n1", "http://r\nx 0000000000000001", "http://r\n1 01", "http://r\n\n"] {
            fs::write(dir.path().join(IDS_FILE), odd).unwrap();
            assert_eq!(ids(dir.path(), "http://r"), [], "{odd:?}");
        }
    }
}
