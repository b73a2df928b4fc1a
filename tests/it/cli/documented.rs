//! The commands that the pages name exist, with the flags that they name.

use crate::process::{headroom, run};
use crate::tidy::links::pages;
use std::collections::BTreeMap;

/// How a page may begin a command.
const BEGINNINGS: &[&str] = &["headroom ", "cargo run --release -- "];

/// The words behind the beginnings of commands in a page: in backticks, or on a line of a block of code.
fn commands(page: &str) -> Vec<Vec<&str>> {
    let spans = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let lines = page.lines().map(|line| line.split(" #").next().unwrap_or(line));
    let written = spans.chain(lines).filter_map(|text| BEGINNINGS.iter().find_map(|begin| text.strip_prefix(begin)));
    written.map(|rest| rest.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect()).collect()
}

/// What a command's help says; `None` when there is no such command.
fn help(words: &[&str]) -> Option<String> {
    let mut command = headroom([]);
    let ended = run(command.args(words).arg("--help"));
    (ended.code == 0).then_some(ended.out)
}

/// What is wrong with one command.
fn wrong(words: &[&str], helps: &mut BTreeMap<String, Option<String>>) -> Option<String> {
    let is_name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    let names: Vec<&str> = words.iter().take_while(is_name).copied().collect();
    let name = names.join(" ");
    let Some(text) = helps.entry(name.clone()).or_insert_with(|| help(&names)) else {
        return Some(format!("there is no command headroom {name}"));
    };
    let flags = words.iter().filter(|word| word.starts_with("--"));
    let unknown: Vec<&str> = flags.filter(|flag| !text.contains(**flag)).copied().collect();
    (!unknown.is_empty()).then(|| format!("headroom {name} has no {}", unknown.join(", ")))
}

#[test]
fn every_command_that_the_pages_name_exists() {
    let mut helps = BTreeMap::new();
    let mut found = Vec::new();
    let mut count = 0;
    for (page, text) in pages() {
        for words in commands(&text) {
            count += 1;
            found.extend(wrong(&words, &mut helps).map(|wrong| format!("{page}: {wrong}")));
        }
    }
    assert!(count > 0, "no page names a command");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn commands_and_flags_that_do_not_exist_are_found() {
    let page =
        "`headroom gone`, `headroom verify --gone`\n```sh\nheadroom topics gone\nheadroom cat --from 1 # all\n```";
    let commands = commands(page);
    let found: Vec<String> = commands.iter().filter_map(|words| wrong(words, &mut BTreeMap::new())).collect();
    let expected = [
        "there is no command headroom gone",
        "headroom verify has no --gone",
        "there is no command headroom topics gone",
    ];
    assert_eq!((commands.len(), found), (4, expected.map(str::to_owned).to_vec()));
}
