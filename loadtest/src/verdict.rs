//! Whether a figure counts: the whole log is read back and judged, and every answer is looked for in it. A figure from
//! a server that broke a law is void, however good it is.

use crate::session::Session;
use headroom::client::inspect::Inspection;
use headroom::domain::{ChainedEvent, EventBody, ReleaseCause};
use serde_json::{Value, json};

/// Breaches that are printed, at most.
const SHOWN_MAX: usize = 10;

/// What the audit of a session found.
pub struct Verdict {
    found: Inspection,
    /// Answers that were not answers of the API.
    unreadable: u64,
    /// Reservations accepted under this session's keys.
    accepted: u64,
    /// Of those, taken back because their caller was told no.
    taken_back: u64,
    /// Holds of this session that have ended.
    expired: u64,
    /// This session's live reservations, by the auditor's own sums.
    live: u64,
}

impl Verdict {
    /// Audits the session.
    ///
    /// # Errors
    /// Why the log could not be read.
    pub async fn reach(session: &mut Session) -> Result<Verdict, String> {
        let (history, unreadable) = session.history();
        let (mut accepted, mut taken_back, mut expired) = (0, 0, 0);
        let prefix = format!("{}-", session.target().prefix);
        let count = |event: &ChainedEvent| {
            let is_ours = |body: &EventBody| body.pool_id().is_some_and(|pool| pool.as_str().starts_with(&prefix));
            match &event.event.body {
                body @ EventBody::Accepted(_) if is_ours(body) => accepted += 1,
                body @ EventBody::Released(_, ReleaseCause::Abandoned) if is_ours(body) => taken_back += 1,
                body @ EventBody::Expired(_) if is_ours(body) => expired += 1,
                _ => {}
            }
        };
        let found = Inspection::run(&mut session.control, history, count).await?;
        let live = found.live.values().filter(|reservation| session.target().owns(&reservation.pool)).count() as u64;
        Ok(Verdict { found, unreadable, accepted, taken_back, expired, live })
    }

    /// Live reservations that callers can account for: those of callers that were told yes, unless their hold has
    /// ended, and those of callers that do not know the outcome.
    fn accounted(&self) -> u64 {
        (self.found.callers.yes + self.found.callers.unknown_live).saturating_sub(self.expired)
    }

    /// Why the figure is void; `None` when it counts.
    pub fn void(&self) -> Option<String> {
        let Verdict { found, unreadable, accepted, taken_back, expired, live } = self;
        if !found.is_clean() {
            return Some(format!("{} breaches", found.breach_count()));
        }
        if *unreadable > 0 {
            return Some(format!("{unreadable} answers are not answers of the API"));
        }
        if *live != self.accounted() || accepted - taken_back - expired != *live {
            let told = self.accounted();
            let gone = format!("{taken_back} taken back - {expired} expired");
            return Some(format!("{accepted} accepted - {gone}, {live} live, {told} accounted for"));
        }
        None
    }

    /// The verdict for people.
    pub fn text(&self) -> String {
        let Verdict { found, accepted, taken_back, expired, live, .. } = self;
        let states = if found.states.is_empty() {
            "the server's states match the log"
        } else {
            "the server's states DO NOT match the log"
        };
        let mut lines: Vec<_> = found.breaches().take(SHOWN_MAX).map(|breach| format!("  {breach}")).collect();
        lines.insert(0, format!("  log      {}", last_line(&found.laws.to_string())));
        lines.insert(1, format!("  callers  {}", last_line(&found.callers.to_string())));
        let (yes, unknown) = (found.callers.yes, found.callers.unknown_live);
        let sign = if *live == self.accounted() { "=" } else { "IS NOT" };
        lines.insert(2, format!("  states   {states}"));
        let gone = format!("{taken_back} taken back - {expired} expired");
        let told = format!("{yes} yes + {unknown} unknown - {expired} expired");
        lines.insert(3, format!("  accounts {accepted} accepted - {gone} = {live} live {sign} {told}"));
        lines.join("\n")
    }

    /// The verdict for programs.
    pub fn json(&self) -> Value {
        let callers = &self.found.callers;
        json!({
            "breaches": self.found.breach_count(),
            "events": self.found.laws.events(),
            "accepted": self.accepted,
            "taken_back": self.taken_back,
            "expired": self.expired,
            "live": self.live,
            "unreadable": self.unreadable,
            "callers": {
                "yes": callers.yes, "no": callers.no, "unknown": callers.unknown,
                "unknown_live": callers.unknown_live, "unseen": callers.unseen,
            },
            "void": self.void(),
        })
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
