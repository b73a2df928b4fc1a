//! Files for a lake: every event is in one file once, whatever is killed, full or gone, and readers count whole batches.

use super::bucket::{COUNTED, share_with_those_that_come_later};
#[cfg(feature = "crash-points")]
use super::killed;
use super::state::{units, used_of};
use super::traffic::Traffic;
use super::{events, on_log, on_path, serve};
use crate::cli::handwritten_logs::Writing;
use crate::cli::on;
use crate::process::{Running, headroom, run};
use crate::wait::until;
use apache_avro::Reader;
use apache_avro::types::Value as Avro;
use headroom::domain::Micros;
use headroom::sink::{COLUMNS, ColumnKind};
use headroom::time::text;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The points at which the process may die, from before a batch is announced to after it is complete.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &["sink-read", "sink-begun", "sink-file", "sink-written", "sink-committed"];

/// A folder with files, as a reader has it.
pub struct Lake {
    dir: TempDir,
}

/// A file: its day, its name, and its rows.
struct Found {
    day: String,
    name: String,
    rows: Vec<Map<String, Value>>,
}

impl Lake {
    pub fn new() -> Lake {
        Lake { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `headroom sink` with these arguments, over the log of this directory.
    pub fn sink(&self, log: &Path, args: &[&str]) -> Command {
        let mut command = headroom(["sink"]);
        command.args(args).env("HEADROOM_SINK_FILES", format!("file://{}", self.path().display()));
        on_path(&mut command, log, args);
        command
    }

    fn files(&self) -> Vec<Found> {
        let names = |dir: PathBuf| -> Vec<String> {
            let entries = fs::read_dir(dir).map(|found| found.map(|entry| entry.unwrap().file_name())).ok();
            entries.into_iter().flatten().map(|name| name.into_string().unwrap()).collect()
        };
        let events = self.path().join("events");
        let mut files = Vec::new();
        for folder in names(events.clone()) {
            let day = folder.strip_prefix("day=").unwrap().to_owned();
            // While an object is written it has another name.
            for name in names(events.join(&folder)).into_iter().filter(|name| name.ends_with(".avro")) {
                let bytes = fs::read(events.join(&folder).join(&name)).unwrap();
                files.push(Found { day: day.clone(), name, rows: rows(&bytes) });
            }
        }
        files
    }

    /// The bytes of each file.
    pub fn sizes(&self) -> Vec<u64> {
        let days = fs::read_dir(self.path().join("events")).unwrap().map(|day| day.unwrap().path());
        let files = days.flat_map(|day| fs::read_dir(day).unwrap());
        files.map(|file| file.unwrap().metadata().unwrap().len()).collect()
    }

    /// The position of each partition.
    pub fn positions(&self) -> BTreeMap<u64, Value> {
        let read = fs::read_dir(self.path().join("positions")).ok().into_iter().flatten();
        let paths = read.map(|entry| entry.unwrap().path()).filter(|path| path.to_str().unwrap().ends_with(".json"));
        by_partition(paths.map(|path| fs::read(path).unwrap()))
    }

    /// The names of the files of events.
    pub fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|file| file.name).collect()
    }

    /// How many events of all partitions are complete.
    pub fn written(&self) -> u64 {
        self.positions().values().map(|position| position["next_seq"].as_u64().unwrap()).sum()
    }

    /// Every row of every file, each once.
    #[track_caller]
    fn all(&self) -> Rows {
        each_once(self.files().into_iter().map(|file| (file.name, file.rows)))
    }

    /// What a reader counts: the rows before the position of their partition.
    #[track_caller]
    pub fn complete(&self) -> Rows {
        // First the positions: what is complete stays so.
        let (positions, mut rows) = (self.positions(), self.all());
        let next_seq = |partition: &u64| positions.get(partition).and_then(|position| position["next_seq"].as_u64());
        rows.retain(|(partition, seq), _| next_seq(partition).is_some_and(|next| *seq < next));
        rows
    }
}

/// Positions by their partition.
pub fn by_partition(positions: impl Iterator<Item = Vec<u8>>) -> BTreeMap<u64, Value> {
    let positions = positions.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
    positions.map(|position| (position["partition"].as_u64().unwrap(), position)).collect()
}

/// The rows of these files, each of which is in one file once.
#[track_caller]
pub fn each_once(files: impl Iterator<Item = (String, Vec<Map<String, Value>>)>) -> Rows {
    let (mut all, mut names) = (Rows::new(), BTreeMap::new());
    for (name, rows) in files {
        for row in rows {
            let key = (row["partition"].as_u64().unwrap(), row["seq"].as_u64().unwrap());
            let before = names.insert(key, name.clone());
            assert_eq!(before, None, "{key:?} is in {name} as well");
            all.insert(key, row);
        }
    }
    all
}

/// The rows of an Avro file as the crate reads them.
pub fn rows(bytes: &[u8]) -> Vec<Map<String, Value>> {
    // Our decoder bounds what the crate allocates, and has to be the first in the process to use it.
    assert!(headroom::wire::event::decode(&[]).is_err());
    let plain = |value: Avro| match value {
        Avro::Union(_, value) => *value,
        value => value,
    };
    let field = |(name, value)| {
        let value = match plain(value) {
            Avro::Null => Value::Null,
            Avro::Int(number) => json!(number),
            Avro::Long(number) | Avro::TimestampMicros(number) => json!(number),
            Avro::Boolean(truth) => json!(truth),
            Avro::String(text) => json!(text),
            other => panic!("{name} is {other:?}"),
        };
        (name, value)
    };
    let row = |record| match record {
        Avro::Record(fields) => fields.into_iter().map(field).collect(),
        other => panic!("{other:?}"),
    };
    Reader::new(bytes).unwrap().map(|record| row(record.unwrap())).collect()
}

/// Rows by partition and seq.
pub type Rows = BTreeMap<(u64, u64), Map<String, Value>>;

/// Whether the rows are the events of a stopped server's log, each once, with what it says in every column.
#[track_caller]
pub fn assert_events(rows: &Rows, log: &Path) {
    assert_columns(rows, &events(&mut on_log("cat", log)));
    assert_sums(rows, log);
}

/// Whether the rows are these events, each once, with what it says in every column.
#[track_caller]
pub fn assert_columns(rows: &Rows, events: &[Value]) {
    let key =
        |event: &Value| (event["partition"].as_u64().unwrap(), event["seq"].as_str().unwrap().parse::<u64>().unwrap());
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), {
        let mut keys: Vec<_> = events.iter().map(key).collect();
        keys.sort_unstable();
        keys
    });
    for event in events {
        let row = &rows[&key(event)];
        assert_eq!(row.len(), COLUMNS.len());
        for column in COLUMNS.iter() {
            let (told, found) = (&event[&column.name], &row[&column.name]);
            let is_same = match column.kind {
                _ if told.is_null() => found.is_null(),
                ColumnKind::Int | ColumnKind::Truth => told == found,
                // `cat` prints these as texts.
                ColumnKind::Long => told.as_str() == Some(&found.to_string()),
                ColumnKind::Time => told.as_str() == Some(&text(Micros(found.as_u64().unwrap()))),
                ColumnKind::Text => told == found,
                ColumnKind::Object | ColumnKind::Texts => {
                    serde_json::from_str::<Value>(found.as_str().unwrap()).unwrap() == *told
                }
            };
            assert!(is_same, "{}: {told} is {found} in {row:?}", column.name);
        }
    }
}

/// Whether what the last rows of each pool say is in use is what the state has.
#[track_caller]
fn assert_sums(rows: &Rows, log: &Path) {
    let mut used = BTreeMap::new();
    for row in rows.values() {
        let text = |name: &str| row[name].as_str();
        let Some(pool) = text("pool") else { continue };
        match (text("kind"), text("used")) {
            (Some("Rejected" | "Repeated"), _) | (_, None) => {}
            (Some("PoolRetired"), _) => drop(used.remove(pool)),
            (_, Some(object)) => drop(used.insert(pool.to_owned(), units(&serde_json::from_str(object).unwrap()))),
        }
    }
    assert_eq!(used, used_of(log));
}

/// Writes what is left of a stopped server's log; then the files hold all of it.
#[track_caller]
pub fn assert_rest(lake: &Lake, log: &Path) {
    let ended = run(&mut lake.sink(log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_events(&lake.complete(), log);
}

/// The story: an analyst counts the orders of yesterday in a folder of files, without a database, and has what the log has.
#[test]
fn every_event_is_in_one_file_of_its_day_whose_name_says_what_it_holds() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    Traffic::new(&served.url, 21).calls(200);
    let backfill = run(&mut lake.sink(log.path(), &["backfill"]));
    assert_eq!(backfill.code, 0, "{}{}", backfill.out, backfill.err);
    served.running.terminate();
    assert_rest(&lake, log.path());
    let nothing = run(&mut lake.sink(log.path(), &["backfill"]));
    assert_eq!((nothing.code, &*nothing.out), (0, "0 rows of 0 events written\n"), "{}", nothing.err);
    for Found { day, name, rows } in lake.files() {
        let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
        let seq = |row: &Map<String, Value>| row["seq"].as_u64().unwrap();
        assert_eq!(
            name,
            format!("p{:05}-{:020}-{:020}.avro", first["partition"].as_u64().unwrap(), seq(first), seq(last))
        );
        for row in &rows {
            assert_eq!(text(Micros(row["decided_at"].as_u64().unwrap()))[..10], day);
        }
    }
    let positions = lake.positions();
    let count: u64 = positions.values().map(|position| position["row_count"].as_u64().unwrap()).sum();
    assert_eq!((positions.len(), count), (3, lake.complete().len() as u64));
    let status = run(&mut lake.sink(log.path(), &["status"]));
    assert_eq!(status.code, 0, "{}", status.err);
    assert_eq!(status.out.matches(", 0 events behind, last batch ").count(), 3, "{}", status.out);
}

/// The story: the machine of the sink is taken away while it writes. The log has grown when another one goes on, so it would
/// cut its batch elsewhere, and what the first one left would be in two files.
#[cfg(feature = "crash-points")]
#[test]
fn killed_at_any_point_the_files_repeat_nothing_and_lose_nothing() {
    let (log, lake, mut announced) = (tempfile::tempdir().unwrap(), Lake::new(), 0);
    let backfill = || lake.sink(log.path(), &["backfill"]);
    killed::at_each(POINTS, 23, log.path(), backfill, || {
        let positions = lake.positions();
        announced += positions.values().filter(|position| !position["begun_until"].is_null()).count();
        killed::assert_first_files(&positions, lake.all(), log.path());
    });
    assert!(announced >= 6, "{announced} batches were announced and not complete when it died");
    assert_rest(&lake, log.path());
}

/// Three processes share the partitions, one after the other is killed, and the others go on with what it wrote.
#[test]
fn sinks_share_the_partitions_and_take_over_those_of_one_that_dies() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 24);
    let start = || Running::start(&mut lake.sink(log.path(), &["--sink-batch-ms", "100"]));
    let mut sinks = vec![start(), start(), start()];
    until("something is written", || lake.written() > 0);
    let refused = run(&mut lake.sink(log.path(), &["backfill"]));
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("another sink writes partition"), "{}", refused.err);
    while let Some(mut sink) = sinks.pop() {
        traffic.calls(30);
        sink.kill();
    }
    let last = start();
    let before = lake.written();
    traffic.calls(10);
    until("the last one has taken the partitions over", || lake.written() > before);
    served.running.terminate();
    assert_eq!(last.terminate().code, 0);
    assert_rest(&lake, log.path());
}

#[test]
fn sinks_of_a_folder_share_the_partitions_with_those_that_come_later() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    Traffic::new(&served.url, 29).beside(|| {
        share_with_those_that_come_later(|| Running::start(&mut lake.sink(log.path(), COUNTED)), 4);
    });
    served.running.terminate();
    assert_rest(&lake, log.path());
    let left = fs::read_dir(lake.path().join("positions")).unwrap().map(|entry| entry.unwrap().file_name());
    let signs = left.filter(|name| name.to_str().unwrap().starts_with("writer-")).count();
    assert_eq!(signs, 0, "each has taken its sign away");
}

/// The story: the disk of the lake is not mounted, and an empty folder in its place must not be filled. Then it is there.
#[test]
fn a_folder_that_is_gone_is_waited_for() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let away = lake.path().with_extension("away");
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 25);
    let mut sink = Running::start(&mut lake.sink(log.path(), &["--sink-batch-ms", "100"]));
    // A write that has begun makes the folders anew that it needs: so there is none.
    let told = on(log.path(), ["cat"]).out.lines().count() as u64;
    until("all is written", || lake.written() == told);
    fs::rename(lake.path(), &away).unwrap();
    traffic.calls(30);
    assert!(!sink.is_over() && !lake.path().exists());
    fs::rename(&away, lake.path()).unwrap();
    let before = lake.written();
    traffic.calls(10);
    until("it goes on", || lake.written() > before);
    served.running.terminate();
    assert_eq!(sink.terminate().code, 0);
    assert_rest(&lake, log.path());
}

/// A disk without room, for which a limit on the size of files stands: nothing is complete that is not whole.
#[test]
fn a_disk_without_room_is_waited_for() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 26);
    let mut sink = Running::start(&mut lake.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("something is written", || lake.written() > 0);
    let ours = getrlimit(Resource::Fsize);
    let room = |limit| prlimit(Some(Pid::from_child(sink.child())), Resource::Fsize, limit).unwrap();
    room(Rlimit { current: Some(64), ..ours });
    traffic.calls(30);
    let stuck = lake.written();
    assert!(lake.complete().len() as u64 <= stuck);
    room(ours);
    until("it goes on", || lake.written() > stuck);
    assert!(!sink.is_over());
    served.running.terminate();
    let ended = sink.terminate();
    assert!(ended.err.contains("the sink waits"), "{}", ended.err);
    assert_rest(&lake, log.path());
}

#[test]
fn an_event_that_cannot_be_read_stops_its_partition_or_is_set_aside() {
    let (dir, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.add_garbage();
    writing.accept(5);
    writing.write(dir.path());
    let seqs = || lake.complete().keys().map(|(_, seq)| *seq).collect::<Vec<_>>();
    for _ in 0..2 {
        let stopped = run(&mut lake.sink(dir.path(), &["backfill"]));
        assert_eq!(stopped.code, 1, "{}", stopped.out);
        assert_eq!(seqs(), [0, 1, 2], "what is before it is written");
        let status = run(&mut lake.sink(dir.path(), &["status"]));
        assert_eq!(status.code, 1);
        assert!(status.out.contains("partition 0: stopped: seq 3 cannot be read: "), "{}", status.out);
    }
    let aside = run(&mut lake.sink(dir.path(), &["backfill", "--sink-undecodable", "aside"]));
    assert_eq!(aside.code, 0, "{}", aside.err);
    assert_eq!(seqs(), [0, 1, 2, 4]);
    let record = fs::read(lake.path().join("set_aside/p00000-00000000000000000003.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!((&record["seq"], &record["record"]), (&json!(3), &json!("6e6f206576656e74")));
    let status = run(&mut lake.sink(dir.path(), &["status"]));
    assert_eq!(status.code, 0, "{}", status.out);
    assert!(status.out.contains("0 events behind") && status.out.contains("1 set aside"), "{}", status.out);
    // What was set aside is of the partition as well.
    fs::remove_dir_all(lake.path().join("events")).unwrap();
    fs::remove_file(lake.path().join("positions/p00000.json")).unwrap();
    let lost = run(&mut lake.sink(dir.path(), &["status"]));
    let why = "partition 0: stopped: positions/p00000.json is not there, and files of its partition are";
    assert!(lost.code == 1 && lost.out.contains(why), "{}{}", lost.out, lost.err);
}

#[test]
fn a_log_that_does_not_continue_the_files_is_refused_and_a_later_begin_is_not() {
    let (first, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let write = |dir: &Path, limit, accepted| {
        let mut writing = Writing::new(limit);
        (0..accepted).for_each(|_| writing.accept(limit));
        writing.write(dir);
    };
    write(first.path(), 5, 3);
    assert_eq!(run(&mut lake.sink(first.path(), &["backfill"])).code, 0);
    for (limit, accepted, why) in [
        (9, 6, "the event at seq 5 does not continue what is written"),
        (5, 2, "5 events are written, and the log has only 4"),
    ] {
        let other = tempfile::tempdir().unwrap();
        write(other.path(), limit, accepted);
        let refused = run(&mut lake.sink(other.path(), &["backfill"]));
        assert_eq!(refused.code, 1, "{}", refused.out);
        assert!(refused.err.contains(why), "{}", refused.err);
        assert_eq!(lake.complete().len(), 5);
    }
    let later = Lake::new();
    let ended = run(&mut later.sink(first.path(), &["backfill", "--from", "4"]));
    assert_eq!((ended.code, &*ended.out), (0, "1 row of 1 event written\n"), "{}", ended.err);
    assert_eq!(later.complete().keys().collect::<Vec<_>>(), [&(0, 4)]);
}

#[test]
fn what_is_no_position_and_what_has_no_tables_is_refused_by_name() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.write(log.path());
    fs::create_dir(lake.path().join("positions")).unwrap();
    fs::write(lake.path().join("positions/p00000.json"), "{}").unwrap();
    let refused = run(&mut lake.sink(log.path(), &["backfill"]));
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("positions/p00000.json is not a position of this version"), "{}", refused.err);
    for command in ["plan", "apply", "rebuild"] {
        let refused = run(&mut lake.sink(log.path(), &[command]));
        assert_eq!(refused.code, 2, "{}", refused.out);
        assert!(refused.err.contains("which have no tables: set sink_database"), "{}", refused.err);
    }
}
