//! The pages (`*.md`), checked against the tree: every relative link leads to a file and a heading that exist. Every path,
//! module, type and name with an underscore (a setting, a field, a metric, a code) in backticks exists. Blocks of code are
//! not checked here; `tests/it/cli/documented.rs` checks the commands.

use super::{Finding, scan, tracked};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Endings that make a word a file's name, wherever the file is.
const ENDINGS: &[&str] = &[".rs", ".md", ".avsc", ".yaml", ".hex"];

/// Where a page's paths may begin: at the top of the tree, or in `src`; or beside the page.
const ROOTS: &[&str] = &["", "src/"];

/// The files of the tree.
struct Tree {
    /// Their texts. Those that are no text are empty.
    files: BTreeMap<String, String>,
    /// Every word of the files that are no pages.
    words: BTreeSet<String>,
}

impl Tree {
    fn new(files: BTreeMap<String, String>) -> Tree {
        let named = |file: &str| !file.ends_with(".md") && !file.ends_with(".lock") && !file.contains("/tidy/");
        let texts = files.iter().filter(|(file, _)| named(file)).map(|(_, text)| text);
        let words = texts.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        Tree { words: words.map(str::to_owned).collect(), files }
    }

    fn of(root: &Path) -> Tree {
        let files = tracked(root).into_iter();
        Tree::new(files.map(|file| (file.clone(), fs::read_to_string(root.join(file)).unwrap_or_default())).collect())
    }

    /// The pages with their texts.
    fn pages(&self) -> impl Iterator<Item = (&String, &String)> {
        self.files.iter().filter(|(file, _)| file.ends_with(".md"))
    }

    /// Whether there is such a file or directory; one `*` stands for any part of one name.
    fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        match path.split_once('*') {
            Some((before, after)) => self.files.keys().any(|file| {
                let middle = file.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                middle.is_some_and(|middle| !middle.contains('/'))
            }),
            None => self.files.contains_key(path) || self.has_directory(path),
        }
    }

    fn has_directory(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        self.files.range(inside.clone()..).next().is_some_and(|(file, _)| file.starts_with(&inside))
    }

    /// Whether a path of modules and names leads to something. `None` when its first part is no module.
    fn leads(&self, path: &str) -> Option<bool> {
        let mut parts = path.split("::");
        let mut at = format!("src/{}", parts.next()?);
        let is_module = |at: &str| self.has_directory(at) || self.files.contains_key(&format!("{at}.rs"));
        if !is_module(&at) {
            return None;
        }
        let mut names = parts.peekable();
        while let Some(inner) = names.next_if(|part| is_module(&format!("{at}/{part}"))) {
            at = format!("{at}/{inner}");
        }
        let (file, inside) = (format!("{at}.rs"), format!("{at}/"));
        let texts = || self.files.iter().filter(|(path, _)| **path == file || path.starts_with(&inside));
        Some(names.all(|name| texts().any(|(_, text)| scan::has(text, name))))
    }
}

/// Every file of the tree with its text. One that is no text is empty.
pub fn texts() -> BTreeMap<String, String> {
    Tree::of(Path::new(env!("CARGO_MANIFEST_DIR"))).files
}

/// Every page of the tree with its text.
pub fn pages() -> BTreeMap<String, String> {
    texts().into_iter().filter(|(file, _)| file.ends_with(".md")).collect()
}

/// A page without its blocks of code, as many lines as before.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut prose = String::with_capacity(text.len());
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence {
            prose.push_str(line);
        }
        prose.push('\n');
    }
    prose
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

fn directory(file: &str) -> &str {
    file.rfind('/').map_or("", |end| &file[..=end])
}

/// A path beside a page, without `..`. `None` when it leads out of the tree.
fn resolve(page: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory(page).split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Where a link leads when that does not exist.
fn dangling(page: &str, target: &str, tree: &Tree) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, heading) = target.split_once('#').map_or((target, None), |(path, heading)| (path, Some(heading)));
    let file = if path.is_empty() { Some(page.to_owned()) } else { resolve(page, path) };
    let Some(file) = file.filter(|file| tree.has(file)) else {
        return Some(format!("{target} leads to no file"));
    };
    let heading =
        heading.filter(|heading| tree.files.get(&file).is_none_or(|text| !anchors(text).contains(*heading)))?;
    Some(format!("{file} has no heading #{heading}"))
}

/// What a word in backticks names that does not exist.
fn missing(page: &str, word: &str, tree: &Tree) -> Option<(&'static str, String)> {
    let word = word.trim_end_matches([',', '.', ';', ':', ')']).trim_end_matches("()");
    let is_of = |more: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    if word.contains("::") && is_of("_:") {
        let is_wrong = tree.leads(word) == Some(false);
        return is_wrong.then(|| ("module", format!("{word} leads to nothing in src")));
    }
    let begins_in_tree = || {
        let first = word.split('/').next().unwrap_or(word);
        word.contains('/') && ROOTS.iter().any(|root| tree.has_directory(&format!("{root}{first}")))
    };
    let is_file = ENDINGS.iter().any(|ending| word.ends_with(ending) && word.len() > ending.len());
    if is_of("_./*-") && !word.starts_with('/') && (is_file || begins_in_tree()) {
        let beside = resolve(page, word).is_some_and(|path| tree.has(&path));
        let exists = beside || ROOTS.iter().any(|root| tree.has(&format!("{root}{word}")));
        return (!exists).then(|| ("path", format!("{word} does not exist")));
    }
    let mut letters = word.chars();
    let is_type = letters.next().is_some_and(|c| c.is_ascii_uppercase()) && letters.any(|c| c.is_ascii_lowercase());
    let is_snake = word.contains('_') && word.starts_with(|c: char| c.is_ascii_lowercase());
    let is_unknown = (is_type && is_of("") || is_snake && is_of("_")) && !tree.words.contains(word);
    is_unknown.then(|| ("name", format!("{word} is in no file but pages")))
}

/// Every rule about one page.
fn check(page: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line, rule, reason| findings.push(Finding { file: page.to_owned(), line, rule, reason });
    let prose = prose(text);
    let mut line = 1;
    for (n, part) in prose.split('`').enumerate() {
        if n % 2 == 1 {
            let words = part.split_whitespace();
            words.filter_map(|word| missing(page, word, tree)).for_each(|(rule, reason)| find(line, rule, reason));
        }
        line += part.matches('\n').count();
    }
    for (n, text) in prose.lines().enumerate() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let wrong = targets.filter_map(|(target, _)| dangling(page, target, tree));
        wrong.for_each(|reason| find(n + 1, "link", reason));
    }
    findings.sort();
    findings.dedup();
    findings
}

#[test]
fn every_link_and_path_of_the_pages_exists() {
    let tree = Tree::of(Path::new(env!("CARGO_MANIFEST_DIR")));
    let findings: Vec<Finding> = tree.pages().flat_map(|(page, text)| check(page, text, &tree)).collect();
    let told: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

/// What a page in `src` may say, with the findings that it must give, as `line rule`.
const PAGES: &[(&str, &[&str])] = &[
    ("[a](../README.md), [b](../README.md#run-it), [c](#here), [d](https://x.example/y)\n# Here", &[]),
    ("\n[a](README.md)", &["2 link"]),
    ("[a](../README.md#nowhere) [b](#nowhere) [c](../../x)", &["1 link", "1 link", "1 link"]),
    ("`owner/shell.rs` `src/owner/shell.rs` `tests/it/*.rs` `owner/` `tests/it/a.rs:`", &[]),
    ("`owner/gone.rs`\n`shell.rs` `tests/gone/*.rs` and `gone.md`", &["1 path", "2 path", "2 path", "2 path"]),
    ("`/v1/pools/{pool}` `application/json` `target/release/x` `.headroom/checkpoint` `P/K`", &[]),
    ("`owner::shell` `owner::Loop` `owner::shell::run()` `std::thread::sleep`", &[]),
    ("`owner::gone` `owner::shell::gone`", &["1 module", "1 module"]),
    ("`Loop` `Accepted` `GET` `SG-01` `Idempotency-Key`", &[]),
    ("x\n`Gone` `hold_gone`", &["2 name", "2 name"]),
    ("`hold_ttl_ms` `hold` `data_dir:`", &[]),
    ("```sh\n`Gone` `owner/gone.rs` [a](gone.md)\n```\n`Loop`", &[]),
];

#[test]
fn every_kind_of_dead_link_is_found_and_nothing_else() {
    let files = [
        ("README.md", "# Headroom\n## Run it\n"),
        ("schemas/event.avsc", "\"Accepted\" \"hold_ttl_ms\""),
        ("src/owner/mod.rs", "pub struct Loop;"),
        ("src/owner/shell.rs", "pub fn run() {}\nconst data_dir: ();"),
        ("tests/it/a.rs", ""),
    ];
    let mut tree = Tree::new(files.map(|(file, text)| (file.to_owned(), text.to_owned())).into());
    for (text, expected) in PAGES {
        tree.files.insert("src/PAGE.md".to_owned(), (*text).to_owned());
        let found: Vec<String> =
            check("src/PAGE.md", text, &tree).iter().map(|f| format!("{} {}", f.line, f.rule)).collect();
        assert_eq!(found, *expected, "{text}");
    }
}
