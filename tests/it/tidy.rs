//! The map of the source, executed: who may know whom, which crate lives in which room, what may stand at the top of
//! the tree, and what no file may hold. It reads text, not types: good enough, because every path in this code base is
//! either `crate::…` or `super::…`, and a finding names its file and line.

mod cycles;
mod docs;
pub mod links;
mod live;
mod scan;
mod table;

use crate::process::try_spawn;
use scan::{Source, uses};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use table::{CRATES, FILE_LINES_MAX, GENERATED, NOT_IN, ROOMS, Room, TOP, WORDS};

/// One thing that is not as the tables say.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.reason)
    }
}

/// The room a file of `src` belongs to: the one whose path is the longest that leads to it.
fn room_of(module: &str) -> Option<&'static Room> {
    ROOMS.iter().filter(|room| within(module, room.path)).max_by_key(|room| room.path.len())
}

/// Whether a path is this one or below it.
fn within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `src/log/embedded/claim.rs` is `log::embedded::claim`; a `mod.rs` is its directory.
fn module_of(file: &str) -> Option<String> {
    let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(path.strip_suffix("/mod").unwrap_or(path).replace('/', "::"))
}

/// Every rule about one file.
fn check(file: &str, text: &str) -> Vec<Finding> {
    let source = Source::new(text);
    let mut findings = Vec::new();
    let mut find = |line: usize, rule, reason: String| {
        findings.push(Finding { file: file.to_owned(), line, rule, reason });
    };
    let lines = text.lines().count();
    if file.ends_with(".rs") && lines > FILE_LINES_MAX && !text.starts_with(GENERATED) {
        find(lines, "length", format!("{lines} lines, at most {FILE_LINES_MAX}: it holds more than one thing"));
    }
    for word in WORDS.iter().filter(|word| (word.applies)(file)) {
        for (line, text) in source.lines(word.of) {
            if scan::has(text, word.text) {
                find(line, "word", format!("{}: {}", word.text, word.reason));
            }
        }
    }
    if let Some(module) = module_of(file) {
        check_room(&module, &source, &mut find);
    }
    findings.sort();
    findings.dedup();
    findings
}

/// The rules about a file of `src`.
fn check_room(module: &str, source: &Source, find: &mut impl FnMut(usize, &'static str, String)) {
    let Some(room) = room_of(module) else {
        find(1, "room", format!("{module} is no room of the map: add it to the table and to the page"));
        return;
    };
    let parents = module.split("::").count();
    for (line, path) in uses(source, module) {
        if let Some(to) = path.strip_prefix("crate::") {
            check_edge(module, room, to, &mut |reason| find(line, "import", reason));
        }
        for rule in CRATES.iter().filter(|rule| rule.names.iter().any(|name| within(&path, name))) {
            if !rule.rooms.iter().any(|home| within(module, home)) {
                let homes = rule.rooms.join(", ");
                find(line, "crate", format!("{path} only in {homes}: {}", rule.reason));
            }
        }
        for rule in NOT_IN.iter().filter(|rule| rule.names.iter().any(|name| within(&path, name))) {
            if rule.rooms.iter().any(|closed| within(module, closed)) {
                find(line, "crate", format!("{path} not in {module}: {}", rule.reason));
            }
        }
        if path.matches("super::").count() > parents {
            find(line, "import", format!("{path} leads out of the crate"));
        }
    }
}

/// Whether `module` of `room` may use `crate::{to}`.
fn check_edge(module: &str, room: &Room, to: &str, find: &mut impl FnMut(String)) {
    let Some(target) = room_of(to) else { return };
    // A room may use what is in it, a trait file may declare its implementations, and they may use it.
    if std::ptr::eq(room, target) || (within(to, module) && module == room.path) {
        return;
    }
    if let Some(not) = room.except.iter().find(|not| within(to, not)) {
        find(format!("{} may not use crate::{not}: {}", room.path, room.reason));
    } else if !room.may_use.contains(&target.path) && !room.may_use.contains(&"*") {
        find(format!("{} may not use crate::{}: {}", room.path, target.path, room.reason));
    }
}

/// Whether a tracked file may be where it is.
fn check_top(file: &str) -> Option<Finding> {
    let top = file.split('/').next().unwrap_or(file);
    let wrong = !top.starts_with('.') && !TOP.contains(&top);
    let reason = format!("{top} is not of the visible top level: {}", TOP.join(" "));
    wrong.then(|| Finding { file: file.to_owned(), line: 1, rule: "top", reason })
}

/// What belongs to the tree: tracked by git or about to be; without git, every file that is not built.
fn tracked(root: &Path) -> Vec<String> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listed = try_spawn(&mut command)
        .and_then(Child::wait_with_output)
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8(output.stdout).expect("file names are text"));
    let mut files: Vec<String> = match listed {
        Some(names) => names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        None => {
            let mut found = Vec::new();
            walk(root, &mut found);
            found.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
        }
    };
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type().unwrap().is_dir() {
            true if name == "target" || name == ".git" => {}
            true => walk(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

#[test]
fn the_tree_is_as_the_tables_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = tracked(root);
    assert!(files.iter().any(|file| file == "src/lib.rs"), "the tree was not found");
    let mut findings: Vec<Finding> = files.iter().filter_map(|file| check_top(file)).collect();
    for file in files.iter().filter(|file| !file.starts_with("tests/it/tidy")) {
        // What is no text holds no words.
        if let Ok(text) = fs::read_to_string(root.join(file)) {
            findings.extend(check(file, &text));
        }
    }
    let told: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

#[test]
fn the_tables_agree_with_themselves() {
    for room in ROOMS {
        for to in room.may_use.iter().filter(|to| **to != "*") {
            assert!(ROOMS.iter().any(|room| room.path == *to), "{} may use {to}, which is no room", room.path);
        }
        for not in room.except {
            let target = room_of(not).map(|target| target.path);
            let open = target.is_some_and(|target| room.may_use.contains(&target) || room.may_use.contains(&"*"));
            assert!(open, "{} is denied {not}, which it may not use anyway", room.path);
        }
    }
    for rule in CRATES.iter().chain(NOT_IN) {
        for home in rule.rooms {
            assert!(room_of(home).is_some(), "{:?}: {home} is in no room", rule.names);
        }
    }
}

/// Every offender with the findings it must give, as `line rule`.
const OFFENDERS: &[(&str, &str, &[&str])] = &[
    ("src/domain/decide.rs", "use crate::limits::A;\nuse crate::{limits, wire::{self, frame}};", &["2 import"]),
    ("src/domain/decide.rs", "use serde::Serialize;\nuse std::fs;\n", &["1 crate", "2 crate"]),
    ("src/domain/ids.rs", "fn f() {\n    crate::store::Row::new();\n}", &["2 import"]),
    ("src/domain/ids.rs", "use super::super::owner::Stage;", &["1 import"]),
    ("src/domain/ids.rs", "use super::super::super::secrets;", &["1 import"]),
    (
        "src/domain/ids.rs",
        "// use crate::wire::x;\n/* crate::log::y\n crate::log::z */ const A: &str = \"crate::api::x\";",
        &[],
    ),
    ("src/domain/ids.rs", "/// See [`crate::owner::stage`].\nconst A: &str = r#\"use sled::Db; \"#;", &[]),
    ("src/wire/event.rs", "use crate::{\n    domain::Event,\n    replica::Index,\n};", &["3 import"]),
    ("src/app/owning.rs", "use crate::log::kafka::Kafka;\nuse crate::log::PartitionLog;", &["1 crate"]),
    ("src/wire/event.rs", "use apache_avro::Schema;\nuse crossbeam_channel::bounded;", &["2 crate"]),
    (
        "src/audit/books.rs",
        "use crate::domain::{decide::decide, Event};\nuse crate::domain::evolve;",
        &["1 import", "2 import"],
    ),
    ("src/replica/mod.rs", "use std::{collections::BTreeMap, thread};", &["1 crate"]),
    ("src/replica/mod.rs", "use crate::log::{CommittedTail, embedded::EmbeddedLog};", &["1 crate", "1 import"]),
    ("src/owner/partition.rs", "fn f() { std::thread::spawn(|| ()); }", &["1 crate", "1 word"]),
    ("src/app/mod.rs", "fn f() { std::thread::Builder::new(); }", &["1 word"]),
    ("src/threads.rs", "fn f() { std::thread::spawn(|| ()); }", &[]),
    ("src/owner/shell.rs", "use std::thread;\nuse crate::store::{Store, sled::SledStore};", &["2 import"]),
    ("src/owner/shell.rs", "use tokio::sync::oneshot;\nuse axum::Router;", &["1 crate", "2 crate"]),
    ("src/gateway/service.rs", "use tokio::sync::oneshot;\nuse crate::api::Problem;", &["2 import"]),
    ("src/gateway/correlator.rs", "use tokio::sync::oneshot;\nuse std::net::IpAddr;", &["1 crate", "2 crate"]),
    (
        "src/log/mod.rs",
        "pub mod embedded;\npub use self::embedded::EmbeddedLog;\nuse rdkafka::x;",
        &["2 crate", "3 crate"],
    ),
    (
        "src/log/embedded/carried/mod.rs",
        "use redb::Database;\nuse super::LogError;\nuse crate::owner::x;",
        &["3 import"],
    ),
    ("src/log/kafka/owner/claim.rs", "use rdkafka::x;\nuse ::sled::Db;", &["2 crate"]),
    (
        "src/store/sled.rs",
        "mod rows;\nuse rows::Place;\nuse super::Mark;\nuse sled::Db;\nuse redb::Database;",
        &["5 crate"],
    ),
    (
        "src/api/http/mod.rs",
        "use axum::Router;\nuse prometheus::Registry;\nuse crate::owner::x;",
        &["2 crate", "3 import"],
    ),
    ("src/app.rs", "use crate::api;\nuse crate::cmd::Failure;", &["2 import"]),
    ("src/main.rs", "use tokio::runtime;\nuse crate::domain::Micros;\nuse redb::Database;", &["3 crate"]),
    ("src/util/mod.rs", "", &["1 room"]),
    ("src/domain/pool.rs", "fn f() { todo!() }\n// FIXME later\nlet method = 1;", &["1 word", "2 word"]),
    ("src/domain/pool.rs", "fn f() {\n    unimplemented!();\n    dbg!(1);\n}", &["2 word", "3 word"]),
    (
        "tests/it/http.rs",
        "#[ignore]\nfn f() { std::thread::sleep(D); }\n// XXX\nuse crate::scan;",
        &["1 word", "2 word", "3 word"],
    ),
    ("tests/it/http.rs", "#[ignore = \"slow\"]\nasync fn f() { tokio::time::sleep(D).await }", &["1 word", "2 word"]),
    ("tests/scenarios/a.txt", "given TODO", &["1 word"]),
    ("loadtest/src/main.rs", "fn f() { std::thread::sleep(D); }", &["1 word"]),
    ("src/app/mod.rs", "use std::thread::park_timeout;\nfn f() { park_timeout(D) }", &["1 word", "2 word"]),
    ("src/time/pause.rs", "fn f() { std::thread::park_timeout(D); }", &[]),
];

#[test]
fn every_kind_of_offender_is_found_and_nothing_else() {
    for (file, text, expected) in OFFENDERS {
        let found: Vec<String> = check(file, text).iter().map(|f| format!("{} {}", f.line, f.rule)).collect();
        assert_eq!(found, *expected, "{file}:\n{text}\n{:#?}", check(file, text));
    }
}

#[test]
fn long_files_and_strange_tops_are_found() {
    let long = "\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(check("tests/it/a.rs", &long).len(), 1);
    assert_eq!(check("tests/it/a.rs", &long[1..]), []);
    assert_eq!(check("tests/it/a.rs", &format!("{GENERATED}a{long}")), []);
    for (file, fine) in [("src/a.rs", true), (".ci/run", true), ("LICENSE", true), ("docs/a.md", false), ("x", false)] {
        assert_eq!(check_top(file).is_none(), fine, "{file}");
    }
}

#[test]
fn a_finding_says_where_and_why() {
    let found = check("src/domain/pool.rs", "\nuse crate::wire::frame;");
    let expected = "src/domain/pool.rs:2: import: domain may not use crate::wire: pure";
    assert!(found[0].to_string().starts_with(expected), "{}", found[0]);
}
