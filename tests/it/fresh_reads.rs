//! Fresh reads ask the log where it ends; those that come while it is asked share the next answer, for a question that
//! began before a read says nothing of what was committed since.

use crate::wait::until;
use headroom::log::{CommittedTail, LogError, StoredEvent};
use headroom::replica::Replica;
use headroom::service::fresh::Freshness;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::task::{JoinSet, yield_now};

const READS: usize = 50;

/// A log that answers when it is let.
struct Slow {
    asked: AtomicUsize,
    may: parking_lot::Mutex<Receiver<Result<u64, LogError>>>,
}

impl Slow {
    fn new() -> (Arc<Slow>, Sender<Result<u64, LogError>>) {
        let (answers, may) = channel();
        (Arc::new(Slow { asked: AtomicUsize::new(0), may: parking_lot::Mutex::new(may) }), answers)
    }
}

impl CommittedTail for Slow {
    fn partitions(&self) -> u32 {
        1
    }

    fn end(&self, _: u32) -> Result<u64, LogError> {
        self.asked.fetch_add(1, SeqCst);
        self.may.lock().recv().unwrap()
    }

    fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
        Ok(Vec::new())
    }
}

/// One read, then many while the log is asked for it; then these answers. What each read was told, the first one's first.
fn reads(answers: [Result<u64, LogError>; 2]) -> (Vec<bool>, usize) {
    let (log, let_go) = Slow::new();
    let replica = Arc::new(Replica::new(1));
    let freshness = Arc::new(Freshness::new(log.clone(), 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(async {
        let fresh = || {
            let (freshness, handle) = (Arc::clone(&freshness), Arc::clone(replica.partition(0).unwrap()));
            async move { freshness.reached(&handle, Duration::from_secs(20)).await }
        };
        let first = tokio::spawn(fresh());
        yield_now().await;
        until("the log is asked", || log.asked.load(SeqCst) == 1);
        let mut rest = JoinSet::new();
        (0..READS).for_each(|_| drop(rest.spawn(fresh())));
        yield_now().await;
        answers.into_iter().for_each(|answer| let_go.send(answer).unwrap());
        let mut told = vec![first.await.unwrap()];
        told.extend(rest.join_all().await);
        told
    });
    (told, log.asked.load(SeqCst))
}

#[test]
fn reads_that_come_at_the_same_time_share_the_next_answer() {
    assert_eq!(reads([Ok(0), Ok(0)]), (vec![true; READS + 1], 2));
}

#[test]
fn a_later_read_does_not_use_an_earlier_answer() {
    let silent = || Err(LogError::transient("silent"));
    let (told, asked) = reads([silent(), Ok(0)]);
    assert_eq!((told[0], told[1..] == [true; READS], asked), (false, true, 2));
    let (told, asked) = reads([Ok(0), silent()]);
    assert_eq!((told[0], told[1..] == [false; READS], asked), (true, true, 2));
}
