//! Measures what a cluster alone can do: commands in, turns of one transaction each, replies out. The loop uses the
//! same client with the same settings as Headroom, but no HTTP and no decisions. So the difference between the two is
//! Headroom's share.

mod clocked;
mod consume;
mod gateway;
mod owner;
mod report;

pub use consume::command as consume;
pub use report::Figures;

use crate::args::BareArgs;
use crate::machine;
use crate::topics::{Made, cluster};
use gateway::Offer;
use headroom::domain::Micros;
use headroom::log::kafka::Cluster;
use headroom::time::SystemClock;
use rdkafka::error::KafkaError;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// Bytes of a record, in any topic.
const RECORD_BYTES: usize = 300;
/// Longest wait for everything to be connected.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait of a thread before it checks whether the run is over.
const LOOK: Duration = Duration::from_millis(20);

/// The same while records wait to be sent.
const LOOK_SOON: Duration = Duration::from_micros(200);

/// What all threads of a loop have in common.
struct Loop {
    cluster: Cluster,
    args: BareArgs,
    clock: SystemClock,
    /// Set from outside when the run has to end early.
    ending: Arc<AtomicBool>,
    /// Set when all work is done, or cannot be done.
    is_over: AtomicBool,
    /// The measured time, once it is known.
    measured: (AtomicU64, AtomicU64),
    /// Replies so far.
    replied: AtomicU64,
}

impl Loop {
    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed) || self.ending.load(Relaxed)
    }

    fn is_measured(&self, at: Micros) -> bool {
        self.measured.0.load(Relaxed) <= at.0 && at.0 < self.measured.1.load(Relaxed)
    }
}

/// `headroom-loadtest bare`.
///
/// # Errors
/// Why there is no figure.
pub async fn command(args: BareArgs) -> Result<bool, String> {
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    let place = format!("{}; cluster at {}", machine::line(), args.brokers);
    let is_json = args.json;
    if !is_json {
        println!("command  {line}\nmachine  {place}\n");
    }
    let figures = measure(args).await?;
    if is_json {
        let load_after = machine::load();
        println!("{}", json!({"command": line, "machine": place, "load_after": load_after, "bare": figures.json()}));
    } else {
        println!("{}\n(load afterwards {})", figures.table(), machine::load());
    }
    Ok(figures.lost() == 0)
}

/// Runs a loop on threads of its own. Topics are deleted however the loop ends, even when nobody waits for it any more.
///
/// # Errors
/// Why there is no figure.
pub async fn measure(args: BareArgs) -> Result<Figures, String> {
    struct Waiting(Arc<AtomicBool>);

    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }

    let waiting = Waiting(Arc::default());
    let ending = Arc::clone(&waiting.0);
    tokio::task::spawn_blocking(move || run(args, ending)).await.map_err(|e| e.to_string())?
}

fn run(args: BareArgs, ending: Arc<AtomicBool>) -> Result<Figures, String> {
    let cluster = Cluster { alternates: args.turns.alternate, ..cluster(&args.brokers, "bare") };
    let made = Made::make(&cluster, args.partitions)?;
    let partitions = args.partitions;
    let it = Loop {
        cluster,
        args,
        clock: SystemClock::new(),
        ending,
        is_over: AtomicBool::new(false),
        measured: (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)),
        replied: AtomicU64::new(0),
    };
    let figures = thread::scope(|scope| {
        let (ready, is_ready) = channel();
        let it = &it;
        let owners: Vec<_> = (0..partitions)
            .map(|partition| {
                let ready = ready.clone();
                scope.spawn(move || owner::run(it, partition, &ready))
            })
            .collect();
        let replies = scope.spawn(move || gateway::replies(it, &ready));
        let all_ready = (0..=partitions).all(|_| is_ready.recv_timeout(READY_TIMEOUT).is_ok());
        let offered =
            if all_ready { gateway::offer(it) } else { Err("not everything was connected in time".to_owned()) };
        it.is_over.store(true, Relaxed);
        let turns: Result<Vec<_>, _> = owners.into_iter().map(ended).collect();
        let replies = ended(replies);
        // A thread that did not get ready explains the failure better than the one that waited for it.
        let turns = turns?.into_iter().fold(owner::Turns::new(), owner::Turns::and);
        let (replies, offer): (_, Offer) = (replies?, offered?);
        Ok(Figures::new(it, offer, replies, turns))
    });
    drop(made);
    figures
}

fn ended<T>(thread: thread::ScopedJoinHandle<'_, Result<T, String>>) -> Result<T, String> {
    thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))
}

/// Reports that a thread is ready. The receiver may have given up.
fn tell(ready: &Sender<()>) {
    let _ = ready.send(());
}

/// The result of a poll. It is `None` when a broker was away for a moment, because the client reconnects by itself.
fn unless_away<T>(polled: Option<Result<T, KafkaError>>) -> Result<Option<T>, KafkaError> {
    use rdkafka::error::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    match polled {
        Some(Err(KafkaError::MessageConsumption(AllBrokersDown | BrokerTransportFailure | OperationTimedOut))) => {
            Ok(None)
        }
        other => other.transpose(),
    }
}
