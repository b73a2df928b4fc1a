//! The embedded log's side: this process owns every partition, from its start to its end.

use super::owner::{Household, Served};
use super::witness::{Flushing, open};
use super::{Side, StartError, draw, draw_wide, spawn};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::log::embedded::{Embedded, Options};
use crate::log::{ClaimError, CommandSink, CommittedTail, Manifest, ReplyChannel};
use crate::owner::Report;
use crate::owner::checkpointer::Checkpointer;
use crate::owner::shell::End;
use crate::replica::{Mood, PartitionState, Replica, Shared};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::telemetry::Metrics;
use crate::time::Clock;
use std::sync::Arc;
use std::thread::JoinHandle;

pub(super) fn start(config: &Config, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Side, StartError> {
    let options = Options { partitions: config.partitions, log_id: draw_wide(), now: clock.now() };
    let store = Arc::new(SledStore::open(&config.data_dir));
    let log = open(&config.data_dir, options, &store).map_err(StartError::Log)?;
    let Manifest { log_id, partitions, .. } = log.manifest();
    let flushing = Flushing::start(&store, log_id, partitions)?;
    let (sink, tail) = (Arc::clone(&log) as Arc<dyn CommandSink>, Arc::clone(&log) as Arc<dyn CommittedTail>);
    let replica = Arc::new(Replica::new(log.partitions()));
    let gateway = Arc::new(Gateway::new(
        draw(),
        config.deadline_default_ms,
        Arc::clone(&sink),
        Arc::clone(&tail),
        Arc::clone(&replica),
        Arc::clone(&clock),
    ));
    metrics.watch(&gateway, sink);
    let (checkpointer, work) = Checkpointer::new(log_id);
    let household = Arc::new(Household {
        partitions,
        log_id,
        tail: Arc::clone(&tail),
        store: Arc::clone(&store) as Arc<dyn Store>,
        clock,
        replies: Arc::clone(&gateway) as Arc<dyn ReplyChannel>,
        checkpointer: checkpointer.noting(store),
        metrics,
        // Every decision is this process's own: its caller is told of it as a reply.
        heard: Box::new(|_| {}),
        tick_after_ms: None,
    });
    let checkpoints = {
        let (store, metrics) = (Arc::clone(&household.store), Arc::clone(&household.metrics));
        spawn("checkpoints", move || work.run(store.as_ref(), metrics.as_ref()))?
    };
    let mut owners = Vec::new();
    for shared in replica.partitions() {
        let (household, log, shared) = (Arc::clone(&household), Arc::clone(&log), Arc::clone(shared));
        owners.push(spawn(&format!("owner-{}", owners.len()), move || own(&household, &log, &shared))?);
    }
    drop(household);
    let end = move || {
        log.close();
        let owners_ended = owners.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        let is_written = checkpoints.join().is_ok();
        flushing.end() && is_written && owners_ended == 0
    };
    Ok(Side { gateway, tail, end: Box::new(end) })
}

fn own(household: &Household, log: &Embedded, shared: &Arc<Shared>) {
    let partition = shared.read(PartitionState::partition);
    // The partition stays readable, and answers nobody until the process is started again.
    let end = |why: String, mood: fn(String) -> Mood| {
        log.close_partition(partition);
        household.metrics.halted(partition, &why);
        shared.set_mood(mood(why));
    };
    let is_of_checkpoint = match household.recovery().restore(shared) {
        Ok(is_there) => is_there,
        Err(error) => return end(error.to_string(), Mood::Lost),
    };
    match household.serve(log, shared, is_of_checkpoint) {
        Served::NotClaimed(ClaimError::Log(error)) => end(error.to_string(), Mood::Lost),
        Served::NotClaimed(ClaimError::Breach(breach)) | Served::Ended(End::Breach(breach) | End::Forked(breach)) => {
            end(breach.to_string(), Mood::Lost);
        }
        Served::Ended(End::Closed) => shared.set_mood(Mood::Stopped),
        Served::Ended(End::Fenced) => end("another owner has the partition".to_owned(), Mood::Halted),
        // The log knows what it failed at, and says so from then on.
        Served::Ended(End::Unknown(why)) => {
            let error = log.end(partition).err().map(|error| error.to_string()).filter(|error| *error != why);
            let why = error.map_or(why.clone(), |error| format!("{why}: {error}"));
            end(why, Mood::Halted);
        }
    }
}
