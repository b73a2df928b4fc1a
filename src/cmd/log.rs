//! `headroom log`: what a person decides about a log that holds less than its data directory has seen. Until then it is
//! not served. The decision is an event, so that whoever reads the log finds it; what shows the loss is kept.

use super::shared::flags::PlaceFlags;
use super::shared::operator_turn::{broken, reason, say, take, unusable};
use super::shared::source::cannot_open;
use super::{Failure, Verdict};
use crate::app::{self, Hold};
use crate::config::{Config, Kafka};
use crate::log::embedded::{Embedded, EmbeddedReader, OpenError, Options};
use crate::log::{ClusterLog, CommittedTail, Fold, PartitionLog};
use crate::owner::losses::Loss;
use crate::owner::recover;
use crate::store::StoreError;
use crate::store::sled::SledStore;
use crate::time::{Clock, SystemClock};
use clap::Subcommand;
use std::io::Write;

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Accept for good that events are gone which the data directory has seen as committed. An event in each partition
    /// that lost some says so; what has seen them is moved to a directory beside, and the log is served again. Whoever
    /// was promised something by those events holds nothing of it
    AcceptLoss {
        #[command(flatten)]
        place: PlaceFlags,
        /// The log's id, as the refusal to serve it says
        #[arg(long, value_name = "ID", value_parser = id)]
        log: u128,
        /// Why they are gone, and who accepts that, for whoever reads the log: up to 200 characters
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        because: String,
    },
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        match self {
            Action::AcceptLoss { place, .. } => place.load(),
        }
    }
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let Action::AcceptLoss { log, because, .. } = action;
    match &config.kafka {
        None => of_directory(config, *log, because, out),
        Some(kafka) => of_cluster(config, kafka, *log, because, out),
    }
}

fn of_directory(config: &Config, id: u128, because: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    let (dir, store) = (&config.data_dir, SledStore::open(&config.data_dir));
    let cannot = |error: StoreError| Failure::Unusable(error.detail);
    let mut made_with = None;
    // Before anything is written: opening a file to write to it puts it right as far as it can.
    let (found, losses) = match EmbeddedReader::open(dir) {
        Ok(reader) => {
            let found = reader.manifest().log_id;
            (found, app::losses(&reader, &store, found).map_err(unusable)?)
        }
        // It is made anew, with what was seen of it.
        Err(OpenError::Io { path, .. }) if dir.is_dir() && !path.exists() => {
            let partitions = store.witness().partitions().map_err(cannot)?;
            made_with = Some(partitions).filter(|partitions| *partitions > 0).or(config.partitions);
            app::seen(&store).map_err(cannot)?.unwrap_or((id, Vec::new()))
        }
        Err(error) => return Err(cannot_open(&error)),
    };
    if !is_to_be_said(id, found, &losses, out)? {
        return Ok(Verdict::Fine);
    }
    let options = Options { partitions: made_with, log_id: id, now: SystemClock::new().now() };
    let log = Embedded::open(dir, options).map_err(|error| cannot_open(&error))?;
    accept(&*log, &losses, because, &store, out)
}

fn of_cluster(
    config: &Config,
    kafka: &Kafka,
    id: u128,
    because: &str,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let dir = &config.data_dir;
    let in_use = || Failure::Unusable(format!("a server is running on {}: stop it and try again", dir.display()));
    let cannot = |error| Failure::Unusable(format!("cannot look at {}: {error}", dir.display()));
    let _hold = Hold::take(dir).map_err(cannot)?.ok_or_else(in_use)?;
    let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
    let (store, found) = (SledStore::open(dir), log.manifest().log_id);
    let losses = app::losses(&log, &store, found).map_err(unusable)?;
    if is_to_be_said(id, found, &losses, out)? {
        return accept(&log, &losses, because, &store, out);
    }
    Ok(Verdict::Fine)
}

/// Whether it is the log that is meant, and has lost anything that a person may accept.
fn is_to_be_said(id: u128, found: u128, losses: &[Loss], out: &mut impl Write) -> Result<bool, Failure> {
    if losses.iter().any(Loss::is_of_another_log) {
        return Err(Failure::Wrong(app::told(losses, found)));
    }
    if found != id {
        return Err(Failure::Unusable(format!("the log is {found:032x}, and {id:032x} was named")));
    }
    if losses.is_empty() {
        writeln!(out, "nothing that was seen is gone, and nothing was said")?;
    }
    Ok(!losses.is_empty())
}

fn accept<L: PartitionLog + CommittedTail>(
    log: &L,
    losses: &[Loss],
    because: &str,
    store: &SledStore,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    for loss in losses {
        let (partition, end) = (loss.partition, log.end(loss.partition).map_err(unusable)?);
        let mut state = recover::rebuild(log, partition, end, &mut |_| {}).map_err(broken)?;
        let (from, until) = loss.events();
        let detail = format!("{because}: {}", loss.what);
        let claim = |from: u64, fold: &mut Fold<'_>| log.claim(partition, from, fold);
        take(&mut state, claim, |owned, state| {
            say(owned, log.partitions(), state, |owner, state, now| {
                owner.events_lost(state, (from, until), &detail, (loss.last(), now))
            })
        })?;
        writeln!(out, "{loss}; the log says that this is accepted")?;
    }
    let cannot = |error| Failure::Unusable(format!("what has seen the events cannot be moved aside: {error}"));
    let aside = store.set_aside().map_err(cannot)?;
    writeln!(out, "what has seen the events is in {}", aside.display())?;
    Ok(Verdict::Fine)
}

fn id(text: &str) -> Result<u128, String> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
    id.ok_or_else(|| "a log's id is 32 hexadecimal digits".to_owned())
}
