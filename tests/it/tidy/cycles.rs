//! No two files of `src` need each other, directly or by way of others: whoever reads one would have to read all of
//! them. Who needs whom is taken from paths. What a file uses under a name that another one hands on is followed to
//! where it is. A file and the modules that it declares are one: it composes them, and they may use what it defines.

use super::scan::{Source, reexports, uses};
use super::{Finding, module_of, tracked, within};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How often a name may be handed on before it is taken for what it is.
const HOPS_MAX: usize = 8;

/// The file modules of `src`, and what each hands on.
struct Modules {
    sources: BTreeMap<String, (String, Source)>,
    handed_on: BTreeMap<String, BTreeMap<String, String>>,
}

/// From a module to those that it uses, with the line that does so first.
type Uses = BTreeMap<String, BTreeMap<String, usize>>;

impl Modules {
    /// Of these files and their texts. Unit tests may use what they like.
    fn new(files: impl IntoIterator<Item = (String, String)>) -> Modules {
        let (mut sources, mut handed_on) = (BTreeMap::new(), BTreeMap::new());
        for (file, text) in files {
            let Some(module) = module_of(&file) else { continue };
            if ["lib", "main"].contains(&&*module) || module.ends_with("::tests") {
                continue;
            }
            let source = Source::new(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
            let names = reexports(&source, &module).into_iter();
            handed_on.insert(module.clone(), names.collect());
            sources.insert(module, (file, source));
        }
        Modules { sources, handed_on }
    }

    /// The file module in which what `path` names is defined, from the root and without `crate`.
    fn home(&self, path: &str, hops: usize) -> Option<String> {
        let parts: Vec<&str> = path.split("::").collect();
        let known = |len: &usize| self.sources.contains_key(&parts[..*len].join("::"));
        let len = (1..=parts.len()).rev().find(known)?;
        let module = parts[..len].join("::");
        let onward = parts.get(len).and_then(|name| self.handed_on.get(&module)?.get(*name));
        match onward.and_then(|path| path.strip_prefix("crate::")) {
            Some(path) if hops < HOPS_MAX => self.home(&[&[path], &parts[len + 1..]].concat().join("::"), hops + 1),
            _ => Some(module),
        }
    }

    fn uses(&self) -> Uses {
        let mut all = Uses::new();
        for (module, (_, source)) in &self.sources {
            for (line, path) in uses(source, module) {
                let Some(home) = path.strip_prefix("crate::").and_then(|path| self.home(path, 0)) else { continue };
                let hands_on = self.handed_on.get(module).is_some_and(|names| names.values().any(|name| *name == path));
                if !within(&home, module) && !hands_on {
                    all.entry(module.clone()).or_default().entry(home).or_insert(line);
                }
            }
        }
        all
    }

    /// One finding for each group of files that need each other: the shortest way from one of them to itself.
    fn cycles(&self) -> Vec<Finding> {
        let (uses, mut seen, mut findings) = (self.uses(), BTreeSet::new(), Vec::new());
        for module in self.sources.keys() {
            let Some(way) = way_back(&uses, module) else { continue };
            if way.iter().any(|module| !seen.insert(module.clone())) {
                continue;
            }
            let next = way.get(1).unwrap_or(module);
            let line = uses.get(module).and_then(|used| used.get(next)).copied().unwrap_or(1);
            let reason = format!("{} -> {module}: move what they share below both", way.join(" -> "));
            findings.push(Finding { file: self.sources[module].0.clone(), line, rule: "cycle", reason });
        }
        findings
    }
}

/// The modules on the shortest way from this one to itself.
fn way_back(uses: &Uses, module: &str) -> Option<Vec<String>> {
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut reached = vec![module];
    while !reached.is_empty() {
        let mut next = Vec::new();
        for at in reached {
            for used in uses.get(at).into_iter().flat_map(BTreeMap::keys) {
                if used == module {
                    let mut way = vec![at.to_owned()];
                    while let Some(before) = from.get(&*way[0]).filter(|_| way[0] != module) {
                        way.insert(0, (*before).to_owned());
                    }
                    return Some(way);
                }
                if !from.contains_key(&**used) {
                    from.insert(used, at);
                    next.push(&**used);
                }
            }
        }
        reached = next;
    }
    None
}

#[test]
fn no_two_files_need_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: String| {
        let text = fs::read_to_string(root.join(&file)).unwrap_or_default();
        (file, text)
    };
    let modules = Modules::new(tracked(root).into_iter().map(read));
    assert!(modules.sources.contains_key("domain"), "the tree was not found");
    let told: Vec<String> = modules.cycles().iter().map(Finding::to_string).collect();
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

/// Files with their texts.
type Files = &'static [(&'static str, &'static str)];

/// Files, and the cycles that they make.
const PLANTED: &[(Files, &[&str])] = &[
    (
        &[("src/a/one.rs", "use super::two::B;"), ("src/a/two.rs", "\nfn f() {\n    crate::a::one::g();\n}")],
        &["src/a/one.rs:1: cycle: a::one -> a::two -> a::one: move what they share below both"],
    ),
    (
        &[("src/a.rs", "use crate::b::B;"), ("src/b.rs", "use crate::c::C;"), ("src/c.rs", "use crate::{a::A, d};")],
        &["src/a.rs:1: cycle: a -> b -> c -> a: move what they share below both"],
    ),
    // Under the name that their parent hands on.
    (
        &[
            ("src/a/mod.rs", "mod one;\nmod two;\npub use one::{One, F};\npub use two::Two;"),
            ("src/a/one.rs", "use super::Two;"),
            ("src/a/two.rs", "use crate::a::One;"),
        ],
        &["src/a/one.rs:1: cycle: a::one -> a::two -> a::one: move what they share below both"],
    ),
    // By way of the parent's parent: not a parent and its child alone.
    (
        &[("src/a/mod.rs", "mod one;\nuse crate::b::B;"), ("src/a/one.rs", ""), ("src/b.rs", "use crate::a::A;")],
        &["src/a/mod.rs:2: cycle: a -> b -> a: move what they share below both"],
    ),
    (&[("src/a/mod.rs", "mod one;\nuse one::F;\npub use one::One;"), ("src/a/one.rs", "use super::A;")], &[]),
    (&[("src/a/mod.rs", "mod one;\nfn f() { one::g() }"), ("src/a/one.rs", "use super::A;")], &[]),
    (&[("src/a.rs", "use crate::b::B;"), ("src/b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}")], &[]),
    (&[("src/a.rs", "use crate::b::B;\nuse crate::c::C;"), ("src/b.rs", "use crate::c::C;"), ("src/c.rs", "")], &[]),
];

#[test]
fn a_cycle_is_found_whatever_way_it_goes() {
    for (files, expected) in PLANTED {
        let modules = Modules::new(files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())));
        let found: Vec<String> = modules.cycles().iter().map(Finding::to_string).collect();
        assert_eq!(found, *expected, "{files:?}");
    }
}
