//! The tables speak of what exists: a rule about a room, a crate or a file that is not there guards nothing, and a
//! reader takes it for the truth.

use super::table::{Bound, CRATES, NOT_IN, ROOMS, Room, TOP};
use super::{module_of, tracked, within};
use std::fs;
use std::path::Path;

/// Whether a file of `src` is this module or lies below it.
fn is_module(path: &str, files: &[String]) -> bool {
    files.iter().filter_map(|file| module_of(file)).any(|module| within(&module, path))
}

/// Rooms, and places that rules name, without a file.
fn missing_rooms(rooms: &[Room], bounds: &[Bound], files: &[String]) -> Vec<String> {
    let excepted = rooms.iter().flat_map(|room| room.except);
    let adapters = bounds.iter().flat_map(|rule| rule.names).filter_map(|name| name.strip_prefix("crate::"));
    let bound = bounds.iter().flat_map(|rule| rule.rooms).copied().chain(adapters);
    let named = rooms.iter().map(|room| room.path).chain(excepted.copied()).chain(bound);
    named.filter(|path| !is_module(path, files)).map(|path| format!("no file of src is {path}")).collect()
}

/// Crates that rules name and no manifest depends on. Modules of `std` are always there.
fn missing_crates(bounds: &[Bound], manifests: &str) -> Vec<String> {
    let depends_on = |name: &str| {
        let (name, dashed) = (name.to_owned(), name.replace('_', "-"));
        let first = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
        manifests.lines().map(first).any(|first| first == name || first == dashed)
    };
    let named = bounds
        .iter()
        .flat_map(|rule| rule.names)
        .filter(|name| !["std::", "crate::"].iter().any(|root| name.starts_with(root)));
    named.filter(|name| !depends_on(name)).map(|name| format!("no manifest depends on {name}")).collect()
}

/// What may stand at the top of the tree and does not.
fn missing_tops(top: &[&str], files: &[String]) -> Vec<String> {
    let is_there = |name: &str| files.iter().any(|file| file.split('/').next() == Some(name));
    top.iter().filter(|name| !is_there(name)).map(|name| format!("there is no {name} at the top")).collect()
}

#[test]
fn the_tables_name_nothing_that_is_not_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = tracked(root);
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let manifests = read("Cargo.toml") + &read("loadtest/Cargo.toml");
    let mut missing = missing_rooms(ROOMS, CRATES, &files);
    missing.extend(missing_rooms(&[], NOT_IN, &files));
    missing.extend(missing_crates(CRATES, &manifests));
    missing.extend(missing_crates(NOT_IN, &manifests));
    missing.extend(missing_tops(TOP, &files));
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

#[test]
fn a_rule_about_nothing_is_found() {
    let files = ["Cargo.toml", "src/domain/mod.rs", "src/domain/pool.rs"].map(str::to_owned);
    let room = |path, except| Room { path, may_use: &[], except, reason: "" };
    let rooms = [room("domain", &["domain::pool"]), room("sim", &["domain::gone"])];
    let rules = [Bound {
        names: &["std::net", "some_crate", "gone", "crate::domain", "crate::lost"],
        rooms: &["domain::pool", "sink"],
        reason: "",
    }];
    let expected =
        ["no file of src is sim", "no file of src is domain::gone", "no file of src is sink", "no file of src is lost"];
    assert_eq!(missing_rooms(&rooms, &rules, &files), expected);
    for manifest in ["some-crate = \"1\"", "some_crate.workspace = true"] {
        assert_eq!(missing_crates(&rules, manifest), ["no manifest depends on gone"]);
    }
    assert_eq!(missing_tops(&["Cargo.toml", "gone"], &files), ["there is no gone at the top"]);
}
