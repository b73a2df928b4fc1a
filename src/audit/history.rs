//! Compares what callers were told with the log. Calls are recorded during a run, and events are read after it.
//! Memory grows with the number of calls alone. This module says nothing of how long an answer took. It trusts the
//! order of the log; [`super::PartitionAudit`] judges whether the log is sound.

use super::report::Breaches;
use crate::domain::{
    Breach, ChainedEvent, CommandKind, Digest, Event, EventBody, IdempotencyKey, Law, PoolId, Reason, ReleaseCause,
    ReservationId,
};
use crate::words::counted;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One call and how it ended for its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// The pool of the call.
    pub pool: PoolId,
    /// The call's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// The reservation, where the caller knows its id.
    pub reservation: Option<ReservationId>,
    /// What the caller was told in the end.
    pub told: Told,
}

/// What a caller was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// A Reserve was accepted; with the proof from the answer.
    Yes(Proof),
    /// A Reserve was refused for good (refused, shed, or timed out with nothing applied); with the code of the
    /// problem.
    No(String),
    /// A Reserve got no answer, or the answer that its outcome is unknown.
    Unknown,
    /// A Release was done.
    Released,
}

/// The part of an answer that names the event behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The reservation that the caller was told.
    pub reservation: ReservationId,
    /// The partition of the event.
    pub partition: u32,
    /// The sequence number of the event.
    pub seq: u64,
    /// The epoch of the owner that decided it.
    pub epoch: u32,
    /// The digest of the event.
    pub digest: Digest,
}

/// Calls, and what the log says of them.
#[derive(Default)]
pub struct History {
    calls: Vec<Call>,
    /// Proofs whose event has not been read yet, by partition and sequence number.
    proofs: BTreeMap<(u32, u64), Vec<Proof>>,
    /// Reservations whose ids callers know.
    traces: BTreeMap<ReservationId, Trace>,
    /// Keys that callers used, and the reservation that the log shows under each.
    keys: BTreeMap<(PoolId, IdempotencyKey), Option<ReservationId>>,
    breaches: Breaches,
}

/// What the log says of one reservation.
#[derive(Default)]
struct Trace {
    lives: u64,
    is_live: bool,
    /// The event that accepted its present or last life.
    began: u64,
    /// Somebody has confirmed, extended or amended that life. It is that caller's, whoever else was told no.
    is_anothers: bool,
    /// The events that callers were told yes with.
    proven: Vec<u64>,
    last: Option<(u32, u64)>,
}

impl History {
    /// A history without any calls.
    pub fn new() -> History {
        History::default()
    }

    /// Takes a call. All calls of a run must be recorded before its events are read.
    pub fn record(&mut self, call: Call) {
        if let Told::Yes(proof) = &call.told {
            self.proofs.entry((proof.partition, proof.seq)).or_default().push(*proof);
            self.traces.entry(proof.reservation).or_default();
        }
        if let Some(id) = call.reservation {
            self.traces.entry(id).or_default();
        }
        if let Some(key) = &call.key {
            self.keys.entry((call.pool.clone(), key.clone())).or_default();
        }
        self.calls.push(call);
    }

    /// Takes a committed event. All events of all partitions must come, those of one partition in order.
    pub fn observe(&mut self, recorded: &ChainedEvent) {
        let event = &recorded.event;
        self.learn_key(event);
        if let Some(id) = event.body.reservation_id() {
            self.follow(id, event);
        }
        for proof in self.proofs.remove(&(event.partition, event.seq)).unwrap_or_default() {
            self.prove(&proof, recorded);
        }
    }

    fn learn_key(&mut self, event: &Event) {
        let Some(command) = event.command().filter(|command| command.kind == CommandKind::Reserve) else { return };
        let (Some(pool), Some(key)) = (event.body.pool_id(), &command.key) else { return };
        let Some(id) = event.body.reservation_id() else { return };
        if let Some(known) = self.keys.get_mut(&(pool.clone(), key.clone())) {
            *known = Some(id);
            self.traces.entry(id).or_default();
        }
    }

    fn follow(&mut self, id: ReservationId, event: &Event) {
        // A refused copy of a command says nothing of its key.
        let is_copy = event.body.rejection().is_some_and(|rejection| rejection.reason == Reason::Duplicate);
        let Some(trace) = self.traces.get_mut(&id).filter(|_| !is_copy) else { return };
        trace.last = Some((event.partition, event.seq));
        let wrong = match &event.body {
            EventBody::Accepted(_) => {
                let lived = std::mem::replace(&mut trace.is_live, true);
                trace.lives = trace.lives.saturating_add(1);
                trace.began = event.seq;
                trace.is_anothers = false;
                lived.then(|| format!("{id} is accepted a second time"))
            }
            EventBody::Released(_, ReleaseCause::Abandoned) => {
                trace.is_live = false;
                let proof = trace.proven.iter().find(|seq| **seq >= trace.began);
                proof.map(|seq| format!("{id} is taken away from a caller told yes at seq {seq}"))
            }
            EventBody::Released(_, ReleaseCause::Caller) | EventBody::Expired(_) => {
                trace.is_live = false;
                None
            }
            EventBody::Confirmed(_) | EventBody::Extended(_) | EventBody::Amended(..) => {
                trace.is_anothers = true;
                None
            }
            _ => None,
        };
        if let Some(detail) = wrong {
            self.breaches.put(Breach { law: Law::TrueYes, partition: event.partition, seq: event.seq, detail });
        }
    }

    fn prove(&mut self, proof: &Proof, recorded: &ChainedEvent) {
        let event = &recorded.event;
        let told = match &event.body {
            EventBody::Accepted(entry) => Some(entry.reservation),
            EventBody::Repeated(original, _) => match &**original {
                EventBody::Accepted(entry) => Some(entry.reservation),
                _ => None,
            },
            _ => None,
        };
        let trace = self.traces.entry(proof.reservation).or_default();
        let detail = if told != Some(proof.reservation) {
            format!("{} was told yes with this record, a {}", proof.reservation, event.body.kind())
        } else if (proof.epoch, proof.digest) != (event.epoch, recorded.digest) {
            let Proof { epoch, digest, .. } = proof;
            format!("told epoch {epoch}, digest {digest}; it has {}, {}", event.epoch, recorded.digest)
        } else if trace.lives == 0 {
            format!("{} was told yes and was never accepted", proof.reservation)
        } else {
            trace.proven.push(event.seq);
            return;
        };
        self.breaches.put(Breach { law: Law::TrueYes, partition: event.partition, seq: event.seq, detail });
    }

    fn id_of(&self, call: &Call) -> Option<ReservationId> {
        let told = match &call.told {
            Told::Yes(proof) => Some(proof.reservation),
            _ => call.reservation,
        };
        let by_key = || self.keys.get(&(call.pool.clone(), call.key.clone()?)).copied().flatten();
        told.or_else(by_key)
    }

    /// The findings, once all events have been read.
    pub fn finish(&self) -> HistoryReport {
        let mut report = HistoryReport { breaches: self.breaches.clone(), ..HistoryReport::default() };
        for proof in self.proofs.values().flatten() {
            let Proof { reservation, partition, seq, .. } = *proof;
            let detail = format!("{reservation} was told yes with a record that is not in the log");
            report.breaches.put(Breach { law: Law::TrueYes, partition, seq, detail });
        }
        let mut may_hold = BTreeSet::<ReservationId>::new();
        for call in &self.calls {
            if let (Some(id), Told::Yes(_) | Told::Unknown) = (self.id_of(call), &call.told) {
                may_hold.insert(id);
            }
        }
        for call in &self.calls {
            let id = self.id_of(call);
            let trace = id.and_then(|id| self.traces.get(&id));
            let may_hold = id.is_some_and(|id| may_hold.contains(&id));
            report.judge(call, id, trace, may_hold);
        }
        report
    }
}

/// What was found about a history of calls.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryReport {
    /// Number of Reserves that were told yes.
    pub yes: u64,
    /// Number of Reserves that were told no.
    pub no: u64,
    /// Number of Reserves whose caller does not know the outcome.
    pub unknown: u64,
    /// How many of those have a live reservation at the end.
    pub unknown_live: u64,
    /// Number of Releases that were told done.
    pub released: u64,
    /// Number of calls of which the log shows nothing: no id was known, and no command under their key was decided.
    pub unseen: u64,
    breaches: Breaches,
}

impl HistoryReport {
    fn judge(&mut self, call: &Call, id: Option<ReservationId>, trace: Option<&Trace>, may_hold: bool) {
        let count = match call.told {
            Told::Yes(_) => &mut self.yes,
            Told::No(_) => &mut self.no,
            Told::Unknown => &mut self.unknown,
            Told::Released => &mut self.released,
        };
        *count = count.saturating_add(1);
        let seen = id.zip(trace.filter(|trace| trace.last.is_some()));
        if seen.is_none() && !matches!(call.told, Told::Yes(_)) {
            self.unseen = self.unseen.saturating_add(1);
        }
        let is_live = trace.is_some_and(|trace| trace.is_live);
        let wrong = match (&call.told, seen) {
            (Told::Unknown, _) => {
                self.unknown_live = self.unknown_live.saturating_add(u64::from(is_live));
                None
            }
            (Told::No(code), Some((id, trace))) if is_live && !may_hold && !trace.is_anothers => {
                Some((Law::FinalNo, format!("{id} is live, and every caller was told no, such as {code}")))
            }
            (Told::Released, Some((id, trace))) if is_live && trace.lives <= 1 => {
                Some((Law::TrueYes, format!("{id} was told released and is live")))
            }
            (Told::Released, Some((id, trace))) if trace.lives == 0 => {
                Some((Law::TrueYes, format!("{id} was told released and was never accepted")))
            }
            (Told::Released, None) => Some((Law::TrueYes, "told released, and the log shows nothing".to_owned())),
            _ => None,
        };
        if let Some((law, detail)) = wrong {
            let (partition, seq) = trace.and_then(|trace| trace.last).unwrap_or_default();
            self.breaches.put(Breach { law, partition, seq, detail });
        }
    }

    /// Whether every caller was told the truth.
    pub fn is_clean(&self) -> bool {
        self.breach_count() == 0
    }

    /// Number of breaches.
    pub fn breach_count(&self) -> u64 {
        self.breaches.count()
    }

    /// The first breaches.
    pub fn breaches(&self) -> &[Breach] {
        self.breaches.kept()
    }
}

impl fmt::Display for HistoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HistoryReport { yes, no, unknown, unknown_live, released, unseen, .. } = self;
        self.breaches.fmt(f)?;
        let verdict = if self.is_clean() { "clean" } else { "BROKEN" };
        write!(f, "{verdict}: {}; {yes} yes, {no} no, ", counted(self.breach_count(), "breach"))?;
        write!(f, "{unknown} unknown ({unknown_live} of them live), {released} released, {unseen} unseen")
    }
}
