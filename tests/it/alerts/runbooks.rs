//! The runbooks (`src/runbooks`): each alert has one, every server shows them, and what they name exists. A test of the
//! cluster's commands is in `brokered::runbooks`.

use super::dashboards::ALL;
use super::{RUNBOOKS, alerts, tree};
use crate::process::{Served, foreign_agent, headroom, run, without_settings};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What every runbook says, in this order.
const SECTIONS: [&str; 5] =
    ["What it means for customers", "How to see that it is true", "What to do first", NEVER, "Whom to wake, and when"];
/// The section whose commands nobody should run.
const NEVER: &str = "What never to do";
/// Programs that a runbook may call.
const PROGRAMS: [&str; 4] = ["headroom ", "curl ", "df ", "date "];
/// In a command for a cluster: the configuration of a process.
const CONFIG: &str = "--config FILE";
/// The longest runbook, in lines: one screen.
const LINES_MAX: usize = 40;

/// The text of every runbook, by name.
fn runbooks() -> BTreeMap<String, String> {
    let entries = fs::read_dir(tree("src/runbooks")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// What stands in backticks on the lines of a text.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The commands of Headroom that somebody should run, of every runbook.
fn commands() -> BTreeSet<String> {
    let runbooks = runbooks();
    let sections = runbooks.values().flat_map(|text| text.split("\n## "));
    let wanted = sections.filter(|section| !section.starts_with(NEVER));
    let found: Vec<_> = wanted.flat_map(|section| spans(section).map(str::to_owned).collect::<Vec<_>>()).collect();
    found.into_iter().filter(|span| span.starts_with(PROGRAMS[0])).collect()
}

/// The words of the commands that need a cluster, without the name of the program and without their configuration.
pub fn commands_of_a_cluster() -> BTreeSet<Vec<String>> {
    let commands = commands().into_iter().filter(|command| command.contains(CONFIG));
    commands
        .map(|command| command.replace(CONFIG, "").split_whitespace().skip(1).map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_alert_leads_to_a_runbook_that_names_it() {
    let mut led: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (alert, rule) in alerts() {
        let name = rule.annotations["runbook_url"].strip_prefix(RUNBOOKS).unwrap().to_owned();
        led.entry(name).or_default().insert(alert);
    }
    let named = runbooks().into_iter().map(|(name, text)| {
        let line = text.lines().find(|line| line.starts_with("Alert")).unwrap_or_default();
        (name, spans(line).map(str::to_owned).collect())
    });
    assert_eq!(named.collect::<BTreeMap<_, _>>(), led);
}

#[test]
fn a_runbook_is_one_screen_with_the_same_sections_as_the_others() {
    for (name, text) in runbooks() {
        assert!(text.starts_with("# ") && text.lines().count() <= LINES_MAX, "{name}");
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{name}");
    }
}

/// The text of every file of `src`, with strings as the compiler joins them.
fn source(dir: &Path) -> String {
    let mut text = String::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            text += &source(&path);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let mut parts = fs::read_to_string(&path).unwrap();
            while let Some(at) = parts.find("\\\n") {
                let rest = parts[at + 2..].trim_start().to_owned();
                parts.truncate(at);
                parts += &rest;
            }
            text += &parts;
        }
    }
    text
}

#[test]
fn the_log_lines_and_panels_that_a_runbook_names_exist() {
    let source = source(&tree("src"));
    let panels: BTreeSet<String> = ALL
        .iter()
        .flat_map(|dashboard| {
            dashboard.panels.iter().map(move |panel| format!("{} / {}", dashboard.title, panel.title))
        })
        .collect();
    let mut wrong = Vec::new();
    for (name, text) in runbooks() {
        let said =
            spans(&text).filter(|span| span.contains(' ') && !PROGRAMS.iter().any(|begin| span.starts_with(begin)));
        wrong.extend(said.filter(|said| !source.contains(*said)).map(|said| format!("{name}: nothing says: {said}")));
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: Vec<&str> = joined.split('*').filter(|part| part.contains(" / ") && part.len() < 60).collect();
        assert!(!shown.is_empty(), "{name} names no panel");
        let gone = shown.iter().filter(|panel| !panels.contains(**panel));
        wrong.extend(gone.map(|panel| format!("{name}: there is no panel {panel}")));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// A server over `.headroom` in this directory, as a person on call finds it.
fn serve(dir: &Path) -> Served {
    let mut command = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]);
    Served::start(command.arg(dir.join(".headroom")))
}

#[test]
fn the_commands_of_runbooks_work_beside_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    let programs = Path::new(env!("CARGO_BIN_EXE_headroom")).parent().unwrap().to_str().unwrap();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let commands = commands();
    let here: Vec<_> = commands.iter().filter(|command| !command.contains(CONFIG)).collect();
    assert!(!here.is_empty(), "no runbook has a command");
    for command in here {
        let mut shell = Command::new("sh");
        without_settings(&mut shell).args(["-c", command]).current_dir(dir.path());
        shell.env("PATH", &path).env("HEADROOM_URL", &server.url);
        let ended = run(&mut shell);
        assert_eq!(ended.code, 0, "{command}: {}{}", ended.out, ended.err);
    }
}

#[test]
fn every_server_shows_the_runbooks_with_links_that_lead_somewhere() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    let agent = foreign_agent();
    let get = |path: &str| {
        let mut answer = agent.get(format!("{}/docs/runbooks{path}", server.url)).call().unwrap();
        let kind = answer.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.body_mut().read_to_string().unwrap())
    };
    let links = |html: &str| -> Vec<String> {
        html.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    };
    let (status, kind, list) = get("/");
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    assert_eq!(get(""), (status, kind, list.clone()), "the path without a slash leads there");
    let listed: BTreeSet<String> = links(&list).iter().map(|link| link.replace("/docs/runbooks/", "")).collect();
    assert_eq!(listed, runbooks().into_keys().collect());
    for (name, text) in runbooks() {
        let (status, _, html) = get(&format!("/{name}"));
        let title = text.lines().next().unwrap().trim_start_matches("# ");
        assert!(status == 200 && html.contains(&format!("<h1>{title}</h1>")), "{name}: {status} {html}");
        for link in links(&html) {
            let path = link.replace("/docs/runbooks", "");
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            assert_eq!(get(&path).0, 200, "{name} leads to {link}");
        }
    }
    for path in ["/gone", "x", "/law-broken/", "/../../../README"] {
        assert_eq!(get(path).0, 404, "{path}");
    }
}
