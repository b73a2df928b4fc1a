//! A doc comment tells something: one or two words repeat a name, and a pointer to the module is no sentence about the
//! thing. This finds both.

use super::table::GENERATED;
use super::{Finding, tracked};
use std::fs;
use std::path::Path;

/// Shortest doc comment, in words.
const DOC_WORDS_MIN: usize = 3;

/// The text of a line of documentation, and which kind of line it is.
fn doc(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let kind = ["///", "//!"].into_iter().find(|kind| line.starts_with(kind) && !line.starts_with("////"))?;
    Some((kind, line[kind.len()..].trim()))
}

/// Doc comments of a file that tell nothing.
fn empty_docs(file: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<Option<(&str, &str)>> = text.lines().map(doc).collect();
    let mut findings = Vec::new();
    let mut begin = 0;
    for comment in lines.chunk_by(|a, b| a.map(|(kind, _)| kind) == b.map(|(kind, _)| kind)) {
        let words: Vec<&str> = comment.iter().flatten().flat_map(|(_, text)| text.split_whitespace()).collect();
        let line = begin + 1;
        begin += comment.len();
        if words.is_empty() {
            continue;
        }
        let text = words.join(" ");
        // The method and the path of an endpoint, or a value as it is written, are the whole of what is to be said.
        let is_short = words.len() < DOC_WORDS_MIN && !text.starts_with('`');
        if is_short || text.contains("See the module.") {
            let reason = format!("\"{text}\" tells nothing: what is it for, in which unit, when is it none?");
            findings.push(Finding { file: file.to_owned(), line, rule: "doc", reason });
        }
    }
    findings
}

#[test]
fn every_doc_comment_tells_something() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut told = Vec::new();
    for file in tracked(root).iter().filter(|file| file.ends_with(".rs")) {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        if text.starts_with(GENERATED) {
            continue;
        }
        told.extend(empty_docs(file, &text).iter().map(Finding::to_string));
    }
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

#[test]
fn a_doc_comment_that_tells_nothing_is_found() {
    let text = [
        "//! Rooms.",
        "//! And more words here.",
        "/// Which.",
        "struct A;",
        "    /// How",
        "    /// so.",
        "    b: u8,",
        "/// Microseconds since start.",
        "/// # Errors",
        "// No doc.",
        "//// None.",
        "/// See the module.",
        "/// The limits. See the module.",
        "/// `GET /v1/pools`.",
    ];
    let text = text.join("\n");
    let found: Vec<usize> = empty_docs("src/a.rs", &text).iter().map(|finding| finding.line).collect();
    assert_eq!(found, [3, 5, 12]);
}
