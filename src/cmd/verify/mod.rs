//! `headroom verify`: every law that a log can show, re-derived by the auditor's model, and the states that must be one
//! compared by digest (L7). Of a stopped server's directory also every page of the file; and where the log hands out
//! commands, those that the events answer (L2): of a cluster, those that it still has. One partition after the other, a
//! batch of events at a time: memory grows with what is live, never with the log. A log that is written meanwhile is
//! judged as far as it went. Nothing is changed.

mod commands;
mod print;

use super::shared::restart::{Restart, Restarting};
use super::shared::source::{Source, running_server};
use super::{Failure, Verdict};
use crate::app::Hold;
use crate::audit::{PartitionAudit, PartitionReport};
use crate::client::internal::LiveState;
use crate::client::running::RunningServer;
use crate::config::Config;
use crate::domain::{Breach, ChainedEvent, Digest, EventBody, Law};
use crate::limits::TURN_BYTES_MAX;
use crate::log::embedded::{EmbeddedReader, OpenError};
use crate::log::{CommittedTail, LogError, StoredEvent};
use crate::owner::losses::loss;
use crate::replica::PartitionState;
use crate::store::sled::SledStore;
use crate::wire;
use commands::{Commands, Finding};
use std::io::Write;
use std::path::Path;

/// What was found in one partition.
struct PartitionFindings {
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

impl PartitionFindings {
    fn breach_count(&self) -> u64 {
        let own = u64::try_from(self.breaches.len()).unwrap_or(u64::MAX);
        self.report.breach_count().saturating_add(own)
    }

    fn breaches(&self) -> impl Iterator<Item = &Breach> {
        self.report.breaches().iter().chain(&self.breaches)
    }
}

/// What was found in all.
struct VerifyReport {
    found: Vec<PartitionFindings>,
    breaches: u64,
    /// What is wrong with the file, whatever can still be read of it.
    damage: Option<String>,
}

impl VerifyReport {
    fn is_clean(&self) -> bool {
        self.breaches == 0 && self.damage.is_none()
    }
}

pub(super) fn run(config: &Config, as_json: bool, out: &mut impl Write) -> Result<Verdict, Failure> {
    let damage = if config.kafka.is_none() { damage(&config.data_dir) } else { None };
    let source = Source::open(config)?;
    let beside = LocalEvidence::of(&source, &config.data_dir)?;
    let mut found = Vec::new();
    for partition in 0..source.tail().partitions() {
        let checked = Verifying::new(&source, &beside, partition).and_then(Verifying::run);
        found.push(checked.map_err(|error| Failure::Unusable(error.to_string()))?);
    }
    let breaches = found.iter().map(PartitionFindings::breach_count).fold(0, u64::saturating_add);
    let whole = VerifyReport { found, breaches, damage };
    let verdict = Verdict::fine_if(whole.is_clean());
    match if as_json { print::json(&whole, out) } else { print::text(&whole, out) }.map_err(Failure::from) {
        // Who reads no further may still ask for the code.
        Ok(()) | Err(Failure::Closed) => Ok(verdict),
        Err(failure) => Err(failure),
    }
}

/// What a data directory has to say beside the log.
enum LocalEvidence {
    /// Nothing.
    Nothing,
    /// Checkpoints that nobody writes meanwhile.
    Checkpoints { store: SledStore, _hold: Option<Hold> },
    /// A server of this log keeps its checkpoints there: its states say more.
    Server(Box<RunningServer>),
}

impl LocalEvidence {
    fn of(source: &Source, dir: &Path) -> Result<LocalEvidence, Failure> {
        let checkpoints = |hold| LocalEvidence::Checkpoints { store: SledStore::open(dir), _hold: hold };
        match source {
            Source::Directory(_) => Ok(checkpoints(None)),
            Source::Server(_) => Ok(LocalEvidence::Nothing),
            Source::Cluster(_) => match Hold::take(dir) {
                Ok(Some(hold)) => Ok(checkpoints(Some(hold))),
                Ok(None) => running_server(dir).map(|server| LocalEvidence::Server(Box::new(server))),
                Err(_) => Ok(LocalEvidence::Nothing),
            },
        }
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
    beside: &'a LocalEvidence,
    partition: u32,
    /// How far: the end as of the start; through a server, its state's position.
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
    fn new(source: &'a Source, beside: &'a LocalEvidence, partition: u32) -> Result<Verifying<'a>, LogError> {
        // The state is asked for first: whatever it holds is committed, and the log only grows.
        let live = match (source, beside) {
            (Source::Server(server), _) | (_, LocalEvidence::Server(server)) => Some(server.state(partition)?),
            _ => None,
        };
        let mut breaches = Vec::new();
        let (until, commands) = match source {
            Source::Directory(reader) => (reader.end(partition)?, Some(Commands::of_decided(reader, partition)?)),
            Source::Server(_) => (live.as_ref().map_or(0, |live| live.next_seq), None),
            Source::Cluster(log) => match log.end(partition) {
                // What was committed cannot be had back.
                Err(error) if source.is_there() => {
                    breaches.push(Breach { law: Law::Chain, partition, seq: 0, detail: error.to_string() });
                    (0, None)
                }
                end => (end?, Some(Commands::of_taken(&**log, partition)?)),
            },
        };
        Ok(Verifying {
            source,
            beside,
            partition,
            until,
            live,
            next: 0,
            audit: PartitionAudit::new(partition, source.tail().partitions()),
            commands,
            fold: Some(PartitionState::new(partition)),
            breaches,
            notes: Vec::new(),
            agreeing: Vec::new(),
        })
    }

    fn run(mut self) -> Result<PartitionFindings, LogError> {
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
        // What lies behind the last event is no event of a number that was read already.
        if is_read && let Err(error) = self.source.tail().read(self.partition, self.until, 1) {
            if !self.source.is_there() {
                return Err(error);
            }
            self.breach(Law::Chain, self.until, format!("the log does not go on here: {error}"));
        }
        if let Some(detail) = self.commands.as_mut().filter(|_| is_read).and_then(Commands::left_over) {
            self.breach(Law::OneDecision, self.until.saturating_sub(1), detail);
        }
        self.miss()?;
        let digest = self.audit.digest();
        self.tell_commands();
        self.compare(digest)?;
        let Verifying { audit, breaches, mut notes, agreeing, .. } = self;
        let report = audit.finish();
        if report.lost > 0 {
            notes.push(format!("{} commands were gone before they were decided, as its events say", report.lost));
        }
        notes.extend(report.clock_sets.iter().map(ToString::to_string));
        Ok(PartitionFindings { report, breaches, digest, agreeing, notes })
    }

    /// L10: what the directory has seen of the partition and the log does not hold.
    fn miss(&mut self) -> Result<(), LogError> {
        let (LocalEvidence::Checkpoints { store, .. }, Some(log_id)) = (self.beside, self.source.log_id()) else {
            return Ok(());
        };
        match loss(self.source.tail(), store, log_id, self.partition) {
            Ok(loss) => self.breaches.extend(loss.map(|loss| loss.breach())),
            // What cannot be read is told of already.
            Err(_) if self.source.is_there() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// How much of what the events answer was there to be compared; of a directory it is all.
    fn tell_commands(&mut self) {
        let Source::Cluster(log) = self.source else { return };
        let Some((compared, answered)) = self.commands.as_ref().map(Commands::counts) else { return };
        let topic = &log.cluster().topics.commands;
        self.notes.push(format!("{compared} of {answered} commands are still in {topic}, and were compared"));
    }

    fn observe(&mut self, events: &[StoredEvent]) {
        let until = self.until;
        for event in events.iter().take_while(|event| event.seq < until) {
            match wire::event::decode(&event.bytes) {
                Ok(recorded) => {
                    let said = recorded.event.body.pool_id().and_then(|pool| self.audit.spec(pool));
                    let commands = self.commands.as_mut();
                    let difference = commands.and_then(|commands| commands.compare(&recorded.event, said));
                    self.audit.observe(&recorded);
                    if let EventBody::EventsLost { detail, from, until } = &recorded.event.body {
                        let seq = event.seq;
                        self.notes
                            .push(format!("seq {seq} says that events {from} to before {until} are lost: {detail}"));
                    }
                    self.fold(&recorded);
                    match difference {
                        Some(Finding::Wrong(detail)) => self.breach(Law::OneDecision, event.seq, detail),
                        Some(Finding::Odd(note)) => self.notes.push(note),
                        None => {}
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

    fn fold(&mut self, recorded: &ChainedEvent) {
        let Some(state) = &mut self.fold else { return };
        if let Err(breach) = state.fold(recorded) {
            // What the auditor sees, too, is not told twice.
            if self.audit.breach_count() == 0 {
                self.breaches.push(breach);
            } else {
                self.notes.push(format!("an owner could not fold seq {}: {}", breach.seq, breach.detail));
            }
            self.fold = None;
            return;
        }
        self.compare_live();
    }

    /// L7: the live state, when the fold has come to where it stands.
    fn compare_live(&mut self) {
        let Some(state) = &self.fold else { return };
        let next_seq = state.position().next_seq;
        let Some(live) = self.live.take_if(|live| live.next_seq == next_seq) else { return };
        let (chain, folded) = (state.position().chain, state.digest());
        let agrees = (&live.chain, &live.digest) == (&chain.to_string(), &folded.to_string());
        self.agree("live state", agrees, || {
            let LiveState { chain: live_chain, digest, .. } = &live;
            format!("the live state is {digest} after {live_chain}, the fold {folded} after {chain}")
        });
    }

    /// L7: the auditor's model, the fold, and what a restart would come to.
    fn compare(&mut self, audited: Digest) -> Result<(), LogError> {
        // Of a log without events.
        self.compare_live();
        let Some(fold) = self.fold.take().filter(|state| state.position().next_seq == self.until) else {
            self.notes.push("states were not compared: the log cannot be folded to its end".to_owned());
            return Ok(());
        };
        let (chain, folded) = (fold.position().chain, fold.digest());
        drop(fold);
        let live = std::mem::take(&mut self.agreeing);
        self.agree("fold", folded == audited, || format!("the fold comes to {folded}, the auditor to {audited}"));
        self.agreeing.extend(live);
        let (LocalEvidence::Checkpoints { store, .. }, Some(log_id)) = (self.beside, self.source.log_id()) else {
            return Ok(());
        };
        if self.breaches.iter().any(|breach| breach.law == Law::LogIsTruth) {
            // A checkpoint of what is gone is nothing that a restart would go by.
            return Ok(());
        }
        let restarting = Restarting { log_id, tail: self.source.tail(), store };
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
