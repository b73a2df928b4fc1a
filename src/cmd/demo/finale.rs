//! The end of the demonstration: the whole log is read back and judged, and every answer a shopper was given is looked
//! for in it.

use super::Stage;
use super::paint::COLUMNS;
use crate::audit::history::History;
use crate::client::Connection;
use crate::client::inspect::Inspection;
use crate::domain::Law;
use std::fmt::Write;

/// The laws that a log and its callers' answers can show to hold.
const SHOWN: [Law; 7] =
    [Law::Capacity, Law::OneDecision, Law::Chain, Law::SameAnswer, Law::FinalNo, Law::TrueYes, Law::OneState];
/// Breaches that are printed, at most.
const BREACHES_MAX: usize = 10;

/// Audits, and answers what to print and whether all is well.
///
/// # Errors
/// Why the log cannot be read.
pub async fn audit(stage: &Stage) -> Result<(String, bool), String> {
    let mut history = History::new();
    stage.board.take_calls().into_iter().for_each(|call| history.record(call));
    let found = Inspection::run(&mut Connection::new(stage.address), history, |_| {}).await?;
    let (_, deeds) = stage.board.all();
    let is_well = found.is_clean() && deeds.contradicted == 0;
    Ok((text(&found, deeds.retried, deeds.contradicted), is_well))
}

fn text(found: &Inspection, retried: u64, contradicted: u64) -> String {
    let mut out = String::from("\nThe log, judged by a second model that shares no code with the first:\n");
    // Writing to a string does not fail.
    for law in SHOWN {
        let broken = found.breaches_of(law);
        let mark = if broken == 0 { "holds " } else { "BROKEN" };
        let _ = writeln!(out, "{}", wrapped(&format!("  {:<3} {mark}  ", law.id()), law.sentence()));
    }
    found.breaches().take(BREACHES_MAX).for_each(|breach| {
        let _ = writeln!(out, "{}", wrapped("  ", &breach.to_string()));
    });
    let callers = &found.callers;
    let full = found.pools.values().filter(|pool| pool.spec.limits.iter().any(|(d, _)| pool.remaining(d) == Some(0)));
    let _ = writeln!(out);
    let _ = writeln!(out, "  {} breaches over {} events", found.breach_count(), found.laws.events());
    let proven = if callers.is_clean() { "every yes is in the log as its proof says" } else { "NOT as the log has it" };
    let _ = writeln!(out, "  {} yes, {} no, {} unknown: {proven}", callers.yes, callers.no, callers.unknown);
    let _ = writeln!(out, "  {retried} retries with the same key, {contradicted} answered otherwise");
    let _ = write!(
        out,
        "  {} orders stand in {} slots, {} sold out, {} overbooked by a decision",
        found.live.len(),
        found.pools.len(),
        full.count(),
        found.breaches_of(Law::Capacity)
    );
    out
}

/// A text behind its mark, on as many lines as it takes.
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
    fn long_sentences_go_on_below_where_they_began() {
        assert_eq!(wrapped("  ", "short"), "  short");
        let law = wrapped("  L7  holds   ", &"word ".repeat(20));
        assert!(law.lines().count() > 1 && law.lines().all(|line| line.chars().count() <= COLUMNS), "{law}");
        assert!(law.lines().skip(1).all(|line| line.starts_with("              word")), "{law}");
        for law in Law::ALL {
            assert!(wrapped("  L10 BROKEN  ", law.sentence()).lines().all(|line| line.chars().count() <= COLUMNS));
        }
    }
}
