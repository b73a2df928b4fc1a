//! `headroom verify`: checks every law that a log can show with the auditor's model, and compares by digest the states
//! that must be equal (L7). For a stopped server it also checks every page of the file. Where the log still has the
//! commands, it compares each event with the command that it answers (L2). Where a place of snapshots is named, it reads every
//! snapshot. It reads one partition after the other, a batch of events or one snapshot at a time: memory grows with the live
//! state, never with the length of the log. A log that is written meanwhile is checked up to its end at the start. Nothing is
//! changed.

mod commands;
mod copies;
mod head;
mod print;
mod report;
mod snapshots;
mod trust;

use super::shared::certificate::{Certificate, CertificateFlags};
use super::shared::fold::Folding;
use super::shared::restart::{Restart, Restarting};
use super::shared::source::{Source, damage, not_answering, running_server};
use super::{Failure, Verdict};
use crate::app::Hold;
use crate::audit::{PartitionAudit, PartitionReport};
use crate::client::internal::LiveState;
use crate::client::running::RunningServer;
use crate::client::scratch::Scratch;
use crate::cmd::shared::stderr;
use crate::config::Config;
use crate::domain::{Breach, ChainedEvent, Digest, EventBody, Law};
use crate::limits::TURN_BYTES_MAX;
use crate::log::{LogError, LogErrorKind, StoredEvent};
use crate::owner::losses::loss;
use crate::replica::{PartitionState, Position};
use crate::store::sled::SledStore;
use crate::wire;
use commands::{Commands, Finding};
use head::{Head, Unnamed};
use report::{NotProven, VerifyReport};
use snapshots::Snapshots;
use std::io::Write;
use std::path::Path;
use trust::Trust;

/// The findings in one partition.
struct PartitionFindings {
    /// The auditor's report.
    report: PartitionReport,
    /// Breaches that the auditor cannot see: what could not be read, and states that differ.
    breaches: Vec<Breach>,
    /// The digest of the state after all events, by the auditor's model.
    digest: Digest,
    /// The other states that have this digest, by name.
    agreeing: Vec<String>,
    /// Observations that are not breaches.
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

/// What is verified, and how it is told.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// Verify this partition only; otherwise all, one after the other
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    certificate: CertificateFlags,
}

pub(super) fn run(config: &Config, what: &What, out: &mut impl Write) -> Result<Verdict, Failure> {
    let own = what.certificate.read().map_err(Failure::Unusable)?;
    let damage = if config.kafka.is_none() { damage(&config.data_dir) } else { None };
    let mut source = Source::open(config, own.as_ref())?;
    let evidence = LocalEvidence::of(&source, &config.data_dir, own.as_ref())?;
    let known = head::known(config, &source, &evidence);
    if known.log_archive != config.log_archive {
        source = Source::open(&known, own.as_ref())?;
    }
    let config = &known;
    let folding = Folding::new(config, source.tail(), source.log_id())?;
    let (mut report, unnamed) = (VerifyReport::default(), Unnamed::of(config));
    let asked = source.partitions(what.partition)?;
    for partition in asked.clone() {
        let mut snapshots = Snapshots::list(&folding, partition);
        let verifying = Verifying::new(&source, &evidence, (&folding, unnamed), partition, &mut snapshots);
        match verifying.and_then(Verifying::run) {
            Ok(findings) => report.found.push(findings),
            Err(error) => {
                let not_proven = |partition, why| NotProven { partition, why, is_of_snapshots: false };
                report.not_proven.push(not_proven(partition, error.to_string()));
                // Each of the others would be waited for in vain. Where one broker answers, they may be broken all the same.
                if let Some(why) = source.unanswered(&error) {
                    let why = format!("no broker answers any more: {why}");
                    let others = asked.clone().filter(|other| *other > partition);
                    report.not_proven.extend(others.map(|partition| not_proven(partition, why.clone())));
                    break;
                }
            }
        }
        if config.snapshots.is_some() {
            report.add_snapshots(partition, snapshots.judge());
        }
    }
    report.damage = damage.or_else(|| source.lacks());
    source.tell_beginning();
    let told = match what.json {
        true => print::json(&report, out),
        false if report.is_told() => print::text(&report, out),
        false => Ok(()),
    };
    told.and_then(|()| out.flush())?;
    let is_wrong = report.judgement().is_wrong();
    match report.not_proven() {
        Some(why) if !is_wrong => return Err(Failure::Unusable(why)),
        // What is broken is broken, whatever the rest is.
        Some(why) => stderr::note(why),
        None => {}
    }
    Ok(Verdict::fine_if(!is_wrong))
}

/// What the data directory shows beside the log itself.
enum LocalEvidence {
    /// Nothing that can be compared.
    Nothing,
    /// Checkpoints, which no server writes meanwhile.
    Checkpoints { store: SledStore, _copies: Scratch, _hold: Option<Hold> },
    /// The states in the memory of a running server, whose checkpoints are in the directory.
    Server(Box<RunningServer>),
}

impl LocalEvidence {
    fn of(source: &Source, dir: &Path, own: Option<&Certificate>) -> Result<LocalEvidence, Failure> {
        let checkpoints = |hold| {
            let copies = copies::scratch();
            let copies = copies.map_err(|error| {
                let place = std::env::temp_dir();
                Failure::Unusable(format!(
                    "no directory for copies of checkpoints can be made in {}: {error}; TMPDIR names another place",
                    place.display()
                ))
            })?;
            let store = SledStore::read_only(dir, copies.path());
            Ok(LocalEvidence::Checkpoints { store, _copies: copies, _hold: hold })
        };
        match source {
            Source::Directory(_) => checkpoints(None),
            Source::Server(_) => Ok(LocalEvidence::Nothing),
            Source::Cluster(_) => match Hold::take(dir) {
                Ok(Some(hold)) => checkpoints(Some(hold)),
                Ok(None) => match running_server(dir, own) {
                    Ok(server) => Ok(LocalEvidence::Server(Box::new(server))),
                    Err(why) => Err(not_answering(dir, &why)),
                },
                Err(_) => Ok(LocalEvidence::Nothing),
            },
        }
    }
}

/// The commands of a partition, where they can be read.
fn commands_of(source: &Source, partition: u32) -> Result<Option<Commands<'_>>, LogError> {
    Ok(match source {
        Source::Directory(reader) => Some(Commands::of_decided(reader, partition)?),
        Source::Server(_) => None,
        Source::Cluster(log) => Some(Commands::of_taken(&**log, partition)?),
    })
}

/// The law that a log breaks whose beginning or end cannot be known because of this error.
fn broken_by(error: &LogError) -> Law {
    // There is no chain of which anything could be wrong.
    if error.kind == LogErrorKind::Emptied { Law::LogIsTruth } else { Law::Chain }
}

/// The verification of one partition.
struct Verifying<'a, 's> {
    source: &'a Source,
    evidence: &'a LocalEvidence,
    partition: u32,
    /// The sequence number to stop before: the end of the log at the start, or the position of the server's state.
    until: u64,
    live: Option<LiveState>,
    next: u64,
    /// Whether there is something to begin with: the first event, or a snapshot that covers what is gone.
    is_begun: bool,
    /// Where there is not: the head that a place which was not named may cover.
    head: Option<Head>,
    audit: PartitionAudit,
    /// The commands that the events answer, where the log has them.
    commands: Option<Commands<'a>>,
    /// The state by the owner's own fold; `None` after an event that it refused.
    fold: Option<PartitionState>,
    /// The snapshots with which the fold is compared.
    snapshots: &'s mut Snapshots<'a>,
    breaches: Vec<Breach>,
    notes: Vec<String>,
    agreeing: Vec<String>,
}

impl<'a, 's> Verifying<'a, 's> {
    fn new(
        source: &'a Source,
        evidence: &'a LocalEvidence,
        (folding, unnamed): (&Folding<'_>, Unnamed),
        partition: u32,
        snapshots: &'s mut Snapshots<'a>,
    ) -> Result<Verifying<'a, 's>, LogError> {
        // The state is read first: everything in it is committed by then, and the log only grows.
        let live = match (source, evidence) {
            (Source::Server(server), _) => Some(server.log().state(partition)?),
            (_, LocalEvidence::Server(server)) => Some(server.state(partition)?),
            _ => None,
        };
        let tail = source.tail();
        let end = match source {
            Source::Server(_) => Ok(live.as_ref().map_or(0, |live| live.next_seq)),
            _ => tail.end(partition),
        };
        let begun = end.and_then(|end| Ok((end, Trust::of(tail, folding, partition)?)));
        let (is_begun, mut head) = (begun.is_ok(), None);
        if let Err(error) = &begun
            && error.kind == LogErrorKind::Uncovered
        {
            head = unnamed.head(tail, partition, snapshots, error)?;
        }
        let (until, trust, mut commands) = match begun {
            Err(_) if head.is_some() => (0, Trust::anew(partition, tail.partitions()), None),
            // The log answers, and its end cannot be known, or nothing covers its beginning: committed events are lost.
            Err(error) if error.kind != LogErrorKind::Transient && source.is_at_fault(&error) => {
                let mut trust = Trust::anew(partition, tail.partitions());
                trust.breaches.push(Breach { law: broken_by(&error), partition, seq: 0, detail: error.to_string() });
                (0, trust, None)
            }
            begun => {
                let (end, trust) = begun?;
                (end.max(trust.state.position().next_seq), trust, commands_of(source, partition)?)
            }
        };
        let Trust { state, audit, notes, breaches } = trust;
        let Position { next_seq: next, next_input, .. } = *state.position();
        if let Some(commands) = &mut commands {
            commands.begin(next_input);
        }
        snapshots.reach(&state);
        Ok(Verifying {
            source,
            evidence,
            partition,
            until,
            live,
            next,
            is_begun,
            head,
            audit,
            commands,
            fold: is_begun.then_some(state),
            snapshots,
            breaches,
            notes,
            agreeing: Vec::new(),
        })
    }

    fn run(mut self) -> Result<PartitionFindings, LogError> {
        let checked = self.check();
        self.keep(checked, |seq| format!("not proven from seq {seq} on"))?;
        let digest = self.audit.digest();
        self.note_commands();
        let compared = self.compare(digest);
        self.keep(compared, |_| "not compared with states".to_owned())?;
        if let Some(head) = self.head.take() {
            if self.breaches.is_empty() {
                return Err(head.not_proven(&self.notes));
            }
            self.notes.push(format!("not proven: {}", head.why()));
        }
        let Verifying { audit, breaches, mut notes, agreeing, .. } = self;
        let report = audit.finish();
        if report.lost > 0 {
            notes.push(format!("{} commands were gone before they were decided, as events record", report.lost));
        }
        notes.extend(report.clock_sets.iter().map(ToString::to_string));
        Ok(PartitionFindings { report, breaches, digest, agreeing, notes })
    }

    /// An error where something was found to be broken is a note: what is broken is broken, whatever the rest is.
    fn keep(&mut self, done: Result<(), LogError>, what: impl FnOnce(u64) -> String) -> Result<(), LogError> {
        let Err(error) = done else { return Ok(()) };
        if self.breaches.is_empty() && self.audit.breach_count() == 0 {
            return Err(error);
        }
        self.notes.push(format!("{}: {error}", what(self.next)));
        Ok(())
    }

    /// Reads the partition to its end, and checks what it reads.
    fn check(&mut self) -> Result<(), LogError> {
        if let Some(head) = &self.head {
            match head.fault(self.source.tail()) {
                Ok(fault) => self.breaches.extend(fault),
                Err(error) if self.source.is_at_fault(&error) => {
                    self.breach(Law::Chain, self.next, format!("the log cannot be read to its end: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        let mut bytes_max = TURN_BYTES_MAX;
        while self.next < self.until {
            match self.source.tail().read(self.partition, self.next, bytes_max) {
                Ok(events) if events.is_empty() => {
                    let detail = format!("the log ends here, and {} events were committed", self.until);
                    self.breach(Law::Chain, self.next, detail);
                    break;
                }
                Ok(events) => {
                    self.observe(&events)?;
                    bytes_max = TURN_BYTES_MAX;
                }
                // Read event by event up to the place that cannot be read.
                Err(_) if bytes_max > 1 => bytes_max = 1,
                Err(error) if self.source.is_at_fault(&error) => {
                    // The log answers, and the event cannot be read: the chain has a hole.
                    self.breach(Law::Chain, self.next, format!("the log cannot be read from here on: {error}"));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        // A log that was not read to its end has more commands than events were seen.
        let is_read = self.is_begun && self.next == self.until;
        // What follows the last event must not be an event with an earlier sequence number.
        if is_read && let Err(error) = self.source.tail().read(self.partition, self.until, 1) {
            if !self.source.is_at_fault(&error) {
                return Err(error);
            }
            self.breach(Law::Chain, self.until, format!("the log does not go on here: {error}"));
        }
        if let Some(commands) = self.commands.as_mut().filter(|_| is_read)
            && let Some(detail) = commands.left_over()?
        {
            self.breach(Law::OneDecision, self.until.saturating_sub(1), detail);
        }
        self.check_losses()
    }

    /// L10: events that the data directory has seen as committed and the log does not hold.
    fn check_losses(&mut self) -> Result<(), LogError> {
        let LocalEvidence::Checkpoints { store, .. } = self.evidence else { return Ok(()) };
        match loss(self.source.tail(), store, self.source.log_id(), self.partition) {
            Ok(loss) => self.breaches.extend(loss.map(|loss| loss.breach())),
            // Events that cannot be read are reported already.
            Err(error) if self.source.is_at_fault(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Notes how many of the answered commands the topic still has. The embedded log has all of them.
    fn note_commands(&mut self) {
        let Source::Cluster(log) = self.source else { return };
        let Some((compared, answered)) = self.commands.as_ref().map(Commands::counts) else { return };
        let topic = &log.cluster().topics.commands;
        self.notes.push(format!("{compared} of {answered} commands are still in {topic}, and were compared"));
    }

    fn observe(&mut self, events: &[StoredEvent]) -> Result<(), LogError> {
        let until = self.until;
        for event in events.iter().take_while(|event| event.seq < until) {
            match wire::event::decode(&event.bytes) {
                Ok(chained) => {
                    let spec = chained.event.body.pool_id().and_then(|pool| self.audit.spec(pool));
                    let commands = self.commands.as_mut();
                    let difference = commands.map_or(Ok(None), |commands| commands.compare(&chained.event, spec))?;
                    self.audit.observe(&chained);
                    if let EventBody::EventsLost { detail, from, until } = &chained.event.body {
                        let lost = match from == until {
                            true => "events may be lost".to_owned(),
                            false => format!("events {from} to before {until} are lost"),
                        };
                        self.notes.push(format!("seq {} records that {lost}: {detail}", event.seq));
                    }
                    self.fold(&chained);
                    match difference {
                        Some(Finding::Wrong(detail)) => self.breach(Law::OneDecision, event.seq, detail),
                        Some(Finding::Note(note)) => self.notes.push(note),
                        None => {}
                    }
                }
                Err(error) => {
                    self.breach(Law::Chain, event.seq, format!("its bytes cannot be decoded as an event: {error}"));
                    self.fold = None;
                    if let Some(commands) = &mut self.commands {
                        commands.lose_count();
                    }
                }
            }
            self.next = event.seq.saturating_add(1);
        }
        Ok(())
    }

    fn fold(&mut self, chained: &ChainedEvent) {
        let Some(state) = &mut self.fold else { return };
        if let Err(breach) = state.fold(chained) {
            // A breach that the auditor sees as well is reported once.
            if self.audit.breach_count() == 0 {
                self.breaches.push(breach);
            } else {
                self.notes.push(format!("an owner could not apply seq {}: {}", breach.seq, breach.detail));
            }
            self.fold = None;
            return;
        }
        self.snapshots.reach(state);
        self.compare_live();
    }

    /// L7: compares the server's live state with the fold, once the fold has reached its position.
    fn compare_live(&mut self) {
        let Some(state) = &self.fold else { return };
        let next_seq = state.position().next_seq;
        let Some(live) = self.live.take_if(|live| live.next_seq == next_seq) else { return };
        let (chain, folded) = (state.position().chain, state.digest());
        let agrees = (&live.chain, &live.digest) == (&chain.to_string(), &folded.to_string());
        self.agree("live state", agrees, || {
            let LiveState { chain: live_chain, digest, .. } = &live;
            format!("the digest of the live state is {digest} after event {live_chain}, that of the log's events {folded} after {chain}")
        });
    }

    /// L7: compares the auditor's model, the fold, and the state that a restart would come to.
    fn compare(&mut self, audited: Digest) -> Result<(), LogError> {
        // A log without events never calls this from fold().
        self.compare_live();
        if !self.is_begun {
            return self.note_checkpoint();
        }
        let Some(fold) = self.fold.take().filter(|state| state.position().next_seq == self.until) else {
            self.notes.push("states were not compared: the events cannot be applied to the end of the log".to_owned());
            return Ok(());
        };
        let (chain, folded) = (fold.position().chain, fold.digest());
        drop(fold);
        let live = std::mem::take(&mut self.agreeing);
        self.agree("fold", folded == audited, || {
            format!("the digest of the owner's fold is {folded}, that of the auditor's model {audited}")
        });
        self.agreeing.extend(live);
        let LocalEvidence::Checkpoints { store, .. } = self.evidence else { return Ok(()) };
        if self.breaches.iter().any(|breach| breach.law == Law::LogIsTruth) {
            // A restart does not use a checkpoint of events that are gone.
            return Ok(());
        }
        let restarting = Restarting { log_id: self.source.log_id(), tail: self.source.tail(), store };
        let restart = match restarting.restart(self.partition, self.until) {
            // It is reported already that the log cannot be read.
            Err(error) if error.kind != LogErrorKind::Transient && !self.breaches.is_empty() => {
                self.notes.push(format!("the checkpoint was not compared: {error}"));
                return Ok(());
            }
            restart => restart?,
        };
        match restart {
            Restart::Absent => self.notes.push("no checkpoint".to_owned()),
            Restart::InUse => {
                self.notes.push("the checkpoint was not compared: another process has it open".to_owned());
            }
            Restart::Unopened(why) => {
                self.notes.push(format!("the checkpoint was not compared: it cannot be opened: {why}"));
            }
            Restart::Mismatch(why) => {
                let note = "the checkpoint does not match the log, and the next start rebuilds it";
                self.notes.push(format!("{note}: {why}"));
            }
            Restart::Breach(breach) => self.breaches.push(breach),
            Restart::State { from, state } => {
                let (restarted_chain, restarted) = (state.position().chain, state.digest());
                let agrees = (restarted_chain, restarted) == (chain, folded);
                self.agree(&format!("checkpoint at {from}"), agrees, || {
                    let what = format!("the checkpoint at {from} and the events after it lead to digest {restarted}");
                    format!("{what} after event {restarted_chain}, all events to {folded} after {chain}")
                });
            }
        }
        Ok(())
    }

    /// Of a log with nothing to begin with: whether a server could begin with the checkpoint all the same.
    fn note_checkpoint(&mut self) -> Result<(), LogError> {
        self.notes.push("states were not compared: there is nothing that the events could be applied to".to_owned());
        let LocalEvidence::Checkpoints { store, .. } = self.evidence else { return Ok(()) };
        let restarting = Restarting { log_id: self.source.log_id(), tail: self.source.tail(), store };
        let Ok(first) = self.source.tail().first(self.partition) else { return Ok(()) };
        let kept = restarting.checkpoint(self.partition).ok().flatten().map(|state| state.position().next_seq);
        if let Some(kept) = kept.filter(|kept| *kept >= first) {
            self.notes.push(format!(
                "the checkpoint at {kept} reaches up to the events that are left, and a server begins with it; what is \
                 before it cannot be verified"
            ));
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
