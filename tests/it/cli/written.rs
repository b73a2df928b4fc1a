//! The commands that are written in pages and scripts, held against what the program says of itself. The tests of the load test
//! use this file as well.

use std::collections::BTreeSet;

/// How a page or a script may call the program, and what that stands for.
const CALLS: &[(&str, &str)] =
    &[("cargo run --release --", "headroom"), ("\"$headroom\"", "headroom"), ("target/release/", "")];

/// The lines of a text. One that is continued is one line with the next.
pub fn lines(text: &str) -> Vec<String> {
    text.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

/// The code of a page: what is in backticks, and the lines of its blocks.
pub fn code(page: &str) -> Vec<String> {
    let (mut prose, mut blocks, mut is_code) = (String::new(), String::new(), false);
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        let text = if is_code { &mut blocks } else { &mut prose };
        text.push_str(if is_fence { "" } else { line });
        text.push('\n');
    }
    let spans = prose.split('`').skip(1).step_by(2);
    let spans = spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    spans.chain(lines(&blocks)).collect()
}

/// Without the signs of a shell or of a page around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c| "[](){};,\"'$".contains(c))
}

/// Whether a word may be the name of a command.
fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// Whether a word of a shell ends a command: a pipe, the begin of another one, a redirection.
fn is_operator(word: &str) -> bool {
    word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['&', '|', ';', '<', '>'])
}

/// The words behind the program in every command of a line. A name has to follow, and a flag may when nothing stands before:
/// images, users and accounts are called like the program.
pub fn commands(line: &str, program: &str) -> Vec<Vec<String>> {
    let line = CALLS.iter().fold(line.replace(';', " ; "), |line, (call, stands_for)| line.replace(call, stands_for));
    let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    let mut commands = Vec::new();
    for part in words.split(|word| is_operator(word)) {
        for (at, word) in part.iter().enumerate() {
            let behind: Vec<&str> = part[at + 1..].iter().map(|word| bare(word)).collect();
            let next = behind.first().copied().unwrap_or_default();
            let is_call = (is_name(next) && next != program) || (at == 0 && next.starts_with('-'));
            if is_call && word.rsplit('(').next() == Some(program) {
                commands.push(behind.into_iter().map(str::to_owned).collect());
            }
        }
    }
    commands
}

/// The flags that a help lists: the words before their values and descriptions.
fn flags(help: &str) -> BTreeSet<&str> {
    let listed = help.lines().flat_map(|line| line.split_whitespace().take_while(|word| word.starts_with('-')));
    listed.map(|word| word.split([',', '=', '[']).next().unwrap_or(word)).collect()
}

/// What is wrong with one command. `help` says what the help of a command is, and `None` when there is no such command.
pub fn wrong(program: &str, words: &[String], help: impl FnOnce(&[&str]) -> Option<String>) -> Option<String> {
    let names: Vec<&str> = words.iter().map(String::as_str).take_while(|word| is_name(word)).collect();
    let called = names.iter().fold(program.to_owned(), |called, name| format!("{called} {name}"));
    let Some(text) = help(&names) else {
        return Some(format!("there is no command {called}"));
    };
    let known = flags(&text);
    let named = words.iter().filter(|word| word.len() > 2 && word.starts_with("--"));
    let named = named.map(|word| word.split('=').next().unwrap_or(word));
    let unknown: Vec<&str> = named.filter(|flag| !known.contains(flag)).collect();
    (!unknown.is_empty()).then(|| format!("{called} has no {}", unknown.join(", ")))
}
