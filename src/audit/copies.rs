//! L2 by identity: a command is decided once, however often the log holds it. The ids of decided commands are known
//! for a while. For so long, "duplicate" is the only answer to them.

use super::judge::Judge;
use super::keys::is_unkept;
use crate::domain::retention::SHUT;
use crate::domain::{CommandId, CommandKind, EventBody, Law, Micros, Reason};
use crate::limits::{COMMAND_SPAN_MS, COMMAND_WINDOW_MS, DECIDED_COMMANDS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Ids of decided commands, by the time when they are forgotten.
#[derive(Default)]
pub(super) struct Copies(BTreeMap<Micros, BTreeSet<CommandId>>);

impl Copies {
    /// Forgets the ids whose time is over.
    pub(super) fn forget(&mut self, now: Micros) {
        while let Some(first) = self.0.first_entry().filter(|span| *span.key() <= now) {
            first.remove();
        }
    }

    /// The clock goes back from `from`. Copies of recent commands have their deadlines by the old time. Their ids are
    /// kept by the old time too, but not beyond `latest`.
    pub(super) fn carry(&mut self, from: Micros, latest: Micros) {
        self.forget(from);
        let mut late = self.0.split_off(&latest);
        if !late.is_empty() {
            self.0.entry(latest).or_default().extend(late.values_mut().flat_map(std::mem::take));
        }
    }

    /// Takes ids that are known already, and until when.
    pub(super) fn known(&mut self, ids: Vec<(Micros, CommandId)>) {
        for (until, id) in ids {
            self.0.entry(until).or_default().insert(id);
        }
    }

    fn holds(&self, id: CommandId) -> bool {
        self.0.values().any(|span| span.contains(&id))
    }

    fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).fold(0, usize::saturating_add)
    }

    /// All ids, by the time when they are forgotten.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Micros, CommandId)> + '_ {
        self.0.iter().flat_map(|(until, ids)| ids.iter().map(|id| (*until, *id)))
    }

    /// Whether attempts may come that an owner had no room to remember.
    pub(super) fn is_shut(&self) -> bool {
        self.holds(SHUT)
    }

    /// Notes that such attempts may come, at least until `last`.
    pub(super) fn shut(&mut self, last: Micros) {
        self.keep_through(SHUT, last);
    }

    fn keep(&mut self, id: CommandId, now: Micros) {
        self.keep_through(id, now.plus_ms(COMMAND_WINDOW_MS));
    }

    fn keep_through(&mut self, id: CommandId, last: Micros) {
        let span_us = COMMAND_SPAN_MS.saturating_mul(1_000);
        let earliest = last.0;
        let into_span = earliest.checked_rem(span_us).unwrap_or_default();
        let until = Micros(earliest.saturating_add(span_us.saturating_sub(into_span)));
        self.0.entry(until).or_default().insert(id);
    }
}

impl Judge<'_> {
    /// Judges whether the command is new, and keeps its id. An Abandon may be decided again.
    pub(super) fn copied(&mut self) {
        let Some(command) = self.event.command().filter(|command| command.kind != CommandKind::Abandon) else { return };
        let refused = refused(&self.event.body);
        let id = command.id;
        let is_known = self.state.copies.holds(id);
        match refused {
            // The owner tells these from the bytes alone, before it looks at ids.
            Some(Reason::Malformed | Reason::Misrouted) => {}
            Some(Reason::Duplicate) => self.found.expect(is_known, Law::OneDecision, || {
                format!("command {:032x} is refused as a copy, and none of its id was decided", id.0)
            }),
            _ => self.found.expect(!is_known, Law::OneDecision, || {
                format!("command {:032x} was decided before, and is decided again", id.0)
            }),
        }
        if refused == Some(Reason::TooManyCommands) {
            let count = self.state.copies.count();
            self.found.expect(count >= DECIDED_COMMANDS_MAX, Law::OneDecision, || {
                format!("refused for too many commands, and {count} were decided a short while ago")
            });
        }
        if !refused.is_some_and(is_unkept) {
            self.state.copies.keep(id, self.now);
        }
    }

    /// Judges that the command is decided in time: not after its deadline, when its attempt may be forgotten although its
    /// caller was told no, and not so long before it that a copy could come when the id is not kept any more. An Abandon is
    /// never late.
    pub(super) fn timely(&mut self) {
        let Some(command) = self.event.command().filter(|command| command.kind != CommandKind::Abandon) else { return };
        let Some(deadline) = command.deadline else { return };
        let (body, now, is_early) = (&self.event.body, self.now, self.forgot_early());
        let is_late = deadline < now;
        let is_far = deadline > now.plus_ms(COMMAND_WINDOW_MS);
        let holds = match refused(body) {
            // The owner tells these before it looks at the time; whether it is late is judged with the refusal.
            Some(Reason::Malformed | Reason::Misrouted | Reason::Duplicate | Reason::Expired) => true,
            Some(Reason::DeadlineTooFar) => is_far || is_early,
            _ => !is_late && (!is_far || is_early),
        };
        let repeated = match body {
            EventBody::Repeated(original, _) => original,
            body => body,
        };
        let counts = command.kind == CommandKind::Reserve && matches!(repeated, EventBody::Accepted(_));
        let law = if is_late && counts { Law::FinalNo } else { Law::OneDecision };
        self.found.expect(holds, law, || {
            format!("{} is decided at {}, and the deadline of its command is {}", body.kind(), now.0, deadline.0)
        });
    }
}

/// Why the command is refused now, if it is.
fn refused(body: &EventBody) -> Option<Reason> {
    match body {
        EventBody::Rejected(rejection) => Some(rejection.reason),
        _ => None,
    }
}
