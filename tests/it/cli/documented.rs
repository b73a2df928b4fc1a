//! The commands that the pages and the scripts name exist, with the flags that they name.

use super::written::{code, commands, lines, wrong};
use crate::process::{headroom, run};
use crate::tidy::links::texts;
use std::collections::BTreeMap;

/// The lines of code of a page or of a shell script.
fn code_of(file: &str, text: &str) -> Vec<String> {
    let is_script = file.ends_with(".sh") || text.starts_with("#!/usr/bin/env bash");
    match file.ends_with(".md") {
        true => code(text),
        false if is_script => lines(text),
        false => Vec::new(),
    }
}

/// What a command's help says; `None` when there is no such command.
fn help(names: &[&str]) -> Option<String> {
    let mut command = headroom([]);
    let ended = run(command.args(names).arg("--help"));
    (ended.code == 0).then_some(ended.out)
}

#[test]
fn every_command_that_a_page_or_a_script_names_exists() {
    let mut helps = BTreeMap::new();
    let mut found = Vec::new();
    let (mut of_pages, mut of_scripts) = (0, 0);
    for (file, text) in texts() {
        for words in code_of(&file, &text).iter().flat_map(|line| commands(line, "headroom")) {
            *(if file.ends_with(".md") { &mut of_pages } else { &mut of_scripts }) += 1;
            let said = |names: &[&str]| helps.entry(names.join(" ")).or_insert_with(|| help(names)).clone();
            found.extend(wrong("headroom", &words, said).map(|wrong| format!("{file}: {wrong}")));
        }
    }
    assert!(of_pages > 0 && of_scripts > 0, "{of_pages} commands in pages, {of_scripts} in scripts");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn commands_and_flags_that_do_not_exist_are_found() {
    let page = [
        "`headroom gone`, `headroom verify --gone`, `headroom",
        "  backup --gone`, `docker build -t headroom --build-arg A=1`",
        "```sh",
        "headroom topics gone",
        "headroom cat --from=1 # --gone",
        "time headroom cat --part 0 && headroom verify \\",
        "    --gone=1 | grep --count 7",
        "kubectl exec pod -- headroom lost",
        "0 * * * *  headroom  target/release/headroom gone || logger 'headroom gone'",
        "cargo run --release -- --gone",
        "```",
    ];
    let script = "answer=$(\"$headroom\" gone); \"$headroom\" tokens list --gone; }\nbuild headroom --gone";
    let code = [code_of("PAGE.md", &page.join("\n")), code_of("check.sh", script)].concat();
    let commands: Vec<Vec<String>> = code.iter().flat_map(|line| commands(line, "headroom")).collect();
    let found: Vec<String> = commands.iter().filter_map(|words| wrong("headroom", words, help)).collect();
    let expected = [
        "there is no command headroom gone",
        "headroom verify has no --gone",
        "headroom backup has no --gone",
        "there is no command headroom topics gone",
        "headroom cat has no --part",
        "headroom verify has no --gone",
        "there is no command headroom lost",
        "there is no command headroom gone",
        "headroom has no --gone",
        "there is no command headroom gone",
        "headroom tokens list has no --gone",
    ];
    assert_eq!((commands.len(), found), (12, expected.map(str::to_owned).to_vec()));
}
