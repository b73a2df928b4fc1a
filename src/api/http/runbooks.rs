//! The runbooks as pages: what an alert means, and what to do. They are part of the binary, so that they can be read when
//! nothing else can. Their texts are `src/runbooks/*.md`.

use pulldown_cmark::{Parser, html};
use std::fmt::Write;

macro_rules! runbooks {
    ($($name:literal)*) => {
        /// Every runbook: its name in the path, and its text.
        const RUNBOOKS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../runbooks/", $name, ".md"))),)*];
    };
}

runbooks! {
    "budget-burns"
    "certificate-expires"
    "checkpoint-old"
    "clock-wrong"
    "dead-letters"
    "disk-fills-up"
    "files-not-read"
    "lag-grows"
    "law-broken"
    "log-set-back"
    "memory-fills-up"
    "nothing-decided"
    "owners-flap"
    "partition-not-decided"
    "partition-stopped"
    "process-down"
    "process-memory-fills-up"
    "sink-waits"
    "snapshot-old"
}

/// Before the title of a page. It loads nothing.
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><style>\
    body{max-width:52rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 sans-serif}\
    code{background:#eee;padding:0 .2em;border-radius:.2em;overflow-wrap:anywhere}\
    h1{font-size:1.6rem}h2{font-size:1.15rem}</style>";

/// The page of the runbook with this name, in HTML; with an empty name the list of them. `None` when there is no such
/// runbook.
pub fn page(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(list());
    }
    let (_, text) = RUNBOOKS.iter().find(|(known, _)| *known == name)?;
    let mut body = String::new();
    html::push_html(&mut body, Parser::new(text));
    Some(format!(
        "{HEAD}<title>{}</title></head><body><p><a href=\"/docs/runbooks/\">Runbooks</a></p>{body}</body></html>\n",
        title(text)
    ))
}

/// What the text says in its first line.
fn title(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_start_matches("# ")
}

fn list() -> String {
    let mut page = format!("{HEAD}<title>Runbooks</title></head><body><h1>Runbooks</h1><ul>");
    for (name, text) in RUNBOOKS {
        // Writing to a string cannot fail.
        let _ = write!(page, "<li><a href=\"/docs/runbooks/{name}\">{}</a></li>", title(text));
    }
    page.push_str("</ul></body></html>\n");
    page
}
