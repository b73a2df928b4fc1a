//! The end of the demonstration: the whole log is read back and audited, and every answer that a shopper was given is
//! looked for in it.

use super::Demo;
use super::render::COLUMNS;
use crate::audit::history::History;
use crate::client::Connection;
use crate::client::inspect::Inspection;
use crate::domain::Law;
use crate::words::counted;
use std::fmt::Write;

/// The laws that a log and the answers to its callers can show to hold.
const SHOWN: [Law; 7] =
    [Law::Capacity, Law::OneDecision, Law::Chain, Law::SameAnswer, Law::FinalNo, Law::TrueYes, Law::OneState];
/// Most breaches that are printed.
const BREACHES_MAX: usize = 10;

/// Audits the log. Returns the text to print, and whether no law is broken.
///
/// # Errors
/// The log cannot be read.
pub async fn audit(demo: &Demo) -> Result<(String, bool), String> {
    let mut history = History::new();
    for call in demo.board.take_calls() {
        history.record(call);
    }
    let found = Inspection::run(&mut Connection::new(demo.address), history, |_| {}).await?;
    let (_, actions) = demo.board.all();
    let is_well = found.is_clean() && actions.contradicted == 0;
    Ok((text(&found, actions.retried, actions.contradicted), is_well))
}

fn text(found: &Inspection, retried: u64, contradicted: u64) -> String {
    let mut out = String::from("\nThe audit, by a second model that shares no code with the one that decided:\n");
    // Writing to a string does not fail.
    for law in SHOWN {
        let broken = found.breaches_of(law);
        let mark = if broken == 0 { "holds " } else { "BROKEN" };
        let _ = writeln!(out, "{}", wrapped(&format!("  {:<3} {mark}  ", law.id()), law.sentence()));
    }
    for breach in found.breaches().take(BREACHES_MAX) {
        let _ = writeln!(out, "{}", wrapped("  ", &breach.to_string()));
    }
    let callers = &found.callers;
    let full = found.pools.values().filter(|pool| pool.spec.limits.iter().any(|(d, _)| pool.remaining(d) == Some(0)));
    let _ = writeln!(out);
    let _ = writeln!(out, "  {} in {}", counted(found.breach_count(), "breach"), counted(found.laws.events(), "event"));
    let proven = if callers.is_clean() { "every yes is in the log as its proof says" } else { "NOT as in the log" };
    let _ = writeln!(out, "  {} yes, {} no, {} unknown: {proven}", callers.yes, callers.no, callers.unknown);
    let _ = writeln!(out, "  {retried} retries with the same key, {contradicted} contradicted the first answer");
    let _ = write!(
        out,
        "  {} orders in {} slots, {} slots sold out, {} overbooked",
        found.live.len(),
        found.pools.len(),
        full.count(),
        found.breaches_of(Law::Capacity)
    );
    out
}

/// A text after its mark, wrapped to the width of the screen; further lines are indented below the first.
fn wrapped(mark: &str, text: &str) -> String {
    let (mut out, mut column) = (mark.to_owned(), mark.chars().count());
    let margin = column;
    for word in text.split(' ') {
        let width = word.chars().count() + 1;
        if column > margin && column + width > COLUMNS {
            out.push_str(&format!("\n{:margin$}", ""));
            column = margin;
        }
        if column > margin {
            out.push(' ');
        }
        out.push_str(word);
        column += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_wrapped_and_indented() {
        assert_eq!(wrapped("  ", "short"), "  short");
        let law = wrapped("  L7  holds   ", &"word ".repeat(20));
        assert!(law.lines().count() > 1 && law.lines().all(|line| line.chars().count() <= COLUMNS), "{law}");
        assert!(law.lines().skip(1).all(|line| line.starts_with("              word")), "{law}");
        for law in Law::ALL {
            assert!(wrapped("  L10 BROKEN  ", law.sentence()).lines().all(|line| line.chars().count() <= COLUMNS));
        }
    }
}
