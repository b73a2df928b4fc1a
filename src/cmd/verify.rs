//! `headroom verify`: every law that a log can show, re-derived by the auditor's model, and the states that must be one
//! compared by digest (L7). Of a stopped server's directory also every page of the file, and the
//! commands that the events answer (L2). One partition after the other, a batch of events at a time: memory grows with what is live,
//! never with the log. Nothing is changed.

mod commands;
mod print;

use super::client::log::LiveState;
use super::source::Source;
use super::state::{Restart, Restarting};
use super::{Failure, Verdict};
use crate::audit::{PartitionAudit, PartitionReport};
use crate::config::Config;
use crate::domain::{Breach, Digest, Law, Recorded};
use crate::limits::TURN_BYTES_MAX;
use crate::log::embedded::{EmbeddedReader, OpenError};
use crate::log::{LogError, StoredEvent};
use crate::replica::PartitionState;
use crate::store::sled::SledStore;
use crate::wire;
use commands::Commands;
use std::io::Write;
use std::path::Path;

/// What was found in one partition.
struct Found {
    /// By the auditor.
    report: PartitionReport,
    /// Beyond the auditor: what could not be read, and states that differ.
    breaches: Vec<Breach>,
    /// Of the state the log comes to, by the auditor's model.
    digest: Digest,
    /// What else came to that state.
    agreeing: Vec<String>,
    /// What is worth knowing and no breach.
    notes: Vec<String>,
}

impl Found {
    fn breach_count(&self) -> u64 {
        let own = u64::try_from(self.breaches.len()).unwrap_or(u64::MAX);
        self.report.breach_count().saturating_add(own)
    }

    fn breaches(&self) -> impl Iterator<Item = &Breach> {
        self.report.breaches().iter().chain(&self.breaches)
    }
}

/// What was found in all.
struct Whole {
    found: Vec<Found>,
    breaches: u64,
    /// What is wrong with the file, whatever can still be read of it.
    damage: Option<String>,
}

impl Whole {
    fn is_clean(&self) -> bool {
        self.breaches == 0 && self.damage.is_none()
    }
}

pub(super) fn run(config: &Config, as_json: bool, out: &mut impl Write) -> Result<Verdict, Failure> {
    let damage = damage(&config.data_dir);
    let source = Source::open(&config.data_dir)?;
    let store = SledStore::open(&config.data_dir);
    let mut found = Vec::new();
    for partition in 0..source.tail().partitions() {
        let checked = Verifying::new(&source, partition).and_then(|verifying| verifying.run(&store));
        found.push(checked.map_err(|error| Failure::Unusable(error.to_string()))?);
    }
    let breaches = found.iter().map(Found::breach_count).fold(0, u64::saturating_add);
    let whole = Whole { found, breaches, damage };
    let verdict = Verdict::fine_if(whole.is_clean());
    match if as_json { print::json(&whole, out) } else { print::text(&whole, out) }.map_err(Failure::from) {
        // Who reads no further may still ask for the code.
        Ok(()) | Err(Failure::Closed) => Ok(verdict),
        Err(failure) => Err(failure),
    }
}

/// Every page of a file that no server has open, those included that no reader meets. Whatever else keeps it from being
/// looked at is told when it is opened to be read.
fn damage(dir: &Path) -> Option<String> {
    match EmbeddedReader::check_pages(dir) {
        Err(error @ OpenError::Damaged { .. }) => Some(error.to_string()),
        _ => None,
    }
}

/// One partition being verified.
struct Verifying<'a> {
    source: &'a Source,
    partition: u32,
    /// How far: the live state's position where there is one, the end otherwise.
    until: u64,
    live: Option<LiveState>,
    next: u64,
    audit: PartitionAudit,
    /// What the events answer, where it can be read.
    commands: Option<Commands<'a>>,
    /// The owner's own fold, as long as it goes on.
    fold: Option<PartitionState>,
    breaches: Vec<Breach>,
    notes: Vec<String>,
    agreeing: Vec<String>,
}

impl<'a> Verifying<'a> {
    fn new(source: &'a Source, partition: u32) -> Result<Verifying<'a>, LogError> {
        let (until, live, commands) = match source {
            Source::Directory(reader) => (source.tail().end(partition)?, None, Some(Commands::new(reader, partition))),
            Source::Server(server) => {
                // The state is asked for first: whatever it holds is committed, and the log only grows.
                let live = server.state(partition)?;
                (live.next_seq, Some(live), None)
            }
        };
        Ok(Verifying {
            source,
            partition,
            until,
            live,
            next: 0,
            audit: PartitionAudit::new(partition, source.tail().partitions()),
            commands,
            fold: Some(PartitionState::new(partition)),
            breaches: Vec::new(),
            notes: Vec::new(),
            agreeing: Vec::new(),
        })
    }

    fn run(mut self, store: &SledStore) -> Result<Found, LogError> {
        let mut bytes_max = TURN_BYTES_MAX;
        while self.next < self.until {
            match self.source.tail().read(self.partition, self.next, bytes_max) {
                Ok(events) if events.is_empty() => {
                    let detail = format!("the log ends here, {} events were committed", self.until);
                    self.breach(Law::Chain, self.next, detail);
                    break;
                }
                Ok(events) => self.observe(&events),
                // Whatever can be read up to the bad place is judged.
                Err(_) if bytes_max > 1 => bytes_max = 1,
                Err(error) if self.source.is_there() => {
                    // What was committed cannot be had back: a hole in the chain.
                    self.breach(Law::Chain, self.next, format!("the log cannot be read from here on: {error}"));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        // Of a log that was not read to its end more commands are to be expected.
        let is_read = self.next == self.until;
        if let Some(detail) = self.commands.as_mut().filter(|_| is_read).and_then(Commands::left_over) {
            self.breach(Law::OneDecision, self.until.saturating_sub(1), detail);
        }
        let digest = self.audit.digest();
        self.compare(digest, store)?;
        let Verifying { audit, breaches, notes, agreeing, .. } = self;
        Ok(Found { report: audit.finish(), breaches, digest, agreeing, notes })
    }

    fn observe(&mut self, events: &[StoredEvent]) {
        let until = self.until;
        for event in events.iter().take_while(|event| event.seq < until) {
            match wire::event::decode(&event.bytes) {
                Ok(recorded) => {
                    self.audit.observe(&recorded);
                    self.fold(&recorded);
                    let difference = self.commands.as_mut().and_then(|commands| commands.compare(&recorded.event));
                    if let Some(detail) = difference {
                        self.breach(Law::OneDecision, event.seq, detail);
                    }
                }
                Err(error) => {
                    self.breach(Law::Chain, event.seq, format!("its bytes are no event: {error}"));
                    self.fold = None;
                    self.commands.iter_mut().for_each(Commands::lose_count);
                }
            }
            self.next = event.seq.saturating_add(1);
        }
    }

    fn fold(&mut self, recorded: &Recorded) {
        let Some(state) = &mut self.fold else { return };
        if let Err(breach) = state.fold(recorded) {
            // What the auditor sees, too, is not told twice.
            if self.audit.breach_count() == 0 {
                self.breaches.push(breach);
            } else {
                self.notes.push(format!("an owner could not fold seq {}: {}", breach.seq, breach.detail));
            }
            self.fold = None;
        }
    }

    /// L7: the auditor's model, the fold, and the live state or what a restart would come to.
    fn compare(&mut self, audited: Digest, store: &SledStore) -> Result<(), LogError> {
        let Some(fold) = self.fold.take().filter(|state| state.position().next_seq == self.until) else {
            self.notes.push("states were not compared: the log cannot be folded to its end".to_owned());
            return Ok(());
        };
        let (chain, folded) = (fold.position().chain, fold.digest());
        drop(fold);
        self.agree("fold", folded == audited, || format!("the fold comes to {folded}, the auditor to {audited}"));
        if let Some(live) = self.live.take() {
            let agrees = (&live.chain, &live.digest) == (&chain.to_string(), &folded.to_string());
            self.agree("live state", agrees, || {
                let LiveState { chain: live_chain, digest, .. } = &live;
                format!("the live state is {digest} after {live_chain}, the fold {folded} after {chain}")
            });
        }
        let Source::Directory(reader) = self.source else { return Ok(()) };
        let restarting = Restarting { log_id: reader.manifest().log_id, tail: reader, store };
        match restarting.restart(self.partition, self.until)? {
            Restart::Absent => self.notes.push("no checkpoint".to_owned()),
            Restart::Odd(why) => self.notes.push(format!("checkpoint of no use, the next start rebuilds it: {why}")),
            Restart::Breach(breach) => self.breaches.push(breach),
            Restart::State { from, state } => {
                let (restarted_chain, restarted) = (state.position().chain, state.digest());
                let agrees = (restarted_chain, restarted) == (chain, folded);
                self.agree(&format!("checkpoint at {from}"), agrees, || {
                    let what = format!("the checkpoint at {from} and the events after it come to {restarted}");
                    format!("{what} after {restarted_chain}, all events to {folded} after {chain}")
                });
            }
        }
        Ok(())
    }

    fn agree(&mut self, what: &str, agrees: bool, detail: impl FnOnce() -> String) {
        if agrees {
            self.agreeing.push(what.to_owned());
        } else {
            self.breach(Law::OneState, self.until.saturating_sub(1), detail());
        }
    }

    fn breach(&mut self, law: Law, seq: u64, detail: String) {
        self.breaches.push(Breach { law, partition: self.partition, seq, detail });
    }
}
