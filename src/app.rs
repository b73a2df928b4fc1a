//! The composition root: picks the adapters, starts the threads, owns the order in which everything ends.

use crate::api;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::log::embedded::{Embedded, OpenError, Options};
use crate::log::{ClaimError, CommandSink, CommittedTail, ReplyChannel};
use crate::owner::checkpointer::Checkpointer;
use crate::owner::recover::Recovery;
use crate::owner::shell::{End, Shell};
use crate::owner::{Partition, Report};
use crate::replica::{Mood, Replica, Shared};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::telemetry::Metrics;
use crate::time::Clock;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;

/// Where a running server says how it is reached: its address and process id, on one line.
pub const ADDRESS_FILE: &str = "server.addr";

/// Time that Abandons get at shutdown to be in the log.
const ABANDONS_DRAIN: Duration = Duration::from_secs(1);

/// Why the service did not start.
#[derive(Debug)]
pub enum StartError {
    /// The log cannot be opened.
    Log(OpenError),
    /// The address cannot be listened on.
    Listen(SocketAddr, std::io::Error),
    /// A file of the data directory cannot be written, or a thread not started.
    Io(PathBuf, std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Log(error) => error.fmt(f),
            StartError::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            StartError::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StartError {}

/// The running service.
pub struct App {
    address: SocketAddr,
    listener: TcpListener,
    data_dir: PathBuf,
    log: Arc<Embedded>,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    owners: Vec<JoinHandle<()>>,
    checkpoints: JoinHandle<()>,
}

impl App {
    /// Opens the log, starts an owner for each partition, and listens. Owners rebuild their state meanwhile; `/readyz`
    /// says when all of them serve.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &Config, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<App, StartError> {
        let data_dir = config.data_dir.clone();
        let log = open_log(config, clock.as_ref()).map_err(StartError::Log)?;
        let listener = TcpListener::bind(config.listen).await.map_err(|e| StartError::Listen(config.listen, e))?;
        let address = listener.local_addr().map_err(|e| StartError::Listen(config.listen, e))?;
        let replica = Arc::new(Replica::new(log.partitions()));
        let gateway = Arc::new(Gateway::new(
            draw(),
            config.deadline_default_ms,
            Arc::clone(&log) as Arc<dyn CommandSink>,
            Arc::clone(&log) as Arc<dyn CommittedTail>,
            Arc::clone(&replica),
            Arc::clone(&clock),
        ));
        metrics.watch(&gateway, Arc::clone(&log) as Arc<dyn CommandSink>);
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&data_dir));
        let (checkpointer, work) = Checkpointer::new(log.manifest().log_id);
        let spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name).spawn(work).map_err(|e| StartError::Io(data_dir.clone(), e))
        };
        let checkpoints = {
            let (store, metrics) = (Arc::clone(&store), Arc::clone(&metrics));
            spawn("checkpoints".to_owned(), Box::new(move || work.run(store.as_ref(), metrics.as_ref())))?
        };
        let mut owners = Vec::new();
        for shared in replica.partitions() {
            let owner = Owner {
                shared: Arc::clone(shared),
                partitions: replica.partition_count(),
                log: Arc::clone(&log),
                store: Arc::clone(&store),
                clock: Arc::clone(&clock),
                replies: Arc::clone(&gateway) as Arc<dyn ReplyChannel>,
                checkpointer: checkpointer.clone(),
                metrics: Arc::clone(&metrics),
            };
            owners.push(spawn(format!("owner-{}", owners.len()), Box::new(move || owner.run()))?);
        }
        write_address(&data_dir, address)?;
        Ok(App { address, listener, data_dir, log, gateway, metrics, owners, checkpoints })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What HTTP calls.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Serves until `shutdown`, then in this order: readiness off, calls in flight answered, the owners' queues decided,
    /// checkpoints written.
    ///
    /// # Errors
    /// When the owners did not end cleanly.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), &'static str> {
        let App { listener, data_dir, log, gateway, metrics, owners, checkpoints, .. } = self;
        let deadlines = tokio::spawn({
            let gateway = Arc::clone(&gateway);
            async move { gateway.keep_deadlines().await }
        });
        let tail = Arc::clone(&log) as Arc<dyn CommittedTail>;
        let state = api::State::new(Arc::clone(&gateway), tail, metrics, draw_wide());
        let closing = {
            let gateway = Arc::clone(&gateway);
            async move {
                shutdown.await;
                gateway.close();
            }
        };
        api::serve(listener, state, closing).await;
        // What callers who left have to give back is to be in the log as well.
        let _ = tokio::time::timeout(ABANDONS_DRAIN, gateway.drained()).await;
        log.close();
        let ended = tokio::task::spawn_blocking(move || {
            let owners_ended = owners.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
            owners_ended == 0 && checkpoints.join().is_ok()
        });
        let ended = ended.await.unwrap_or(false);
        deadlines.abort();
        // It holds the log until it is gone.
        let _ = deadlines.await;
        // A file that is left behind names a server that does not answer: readers find out.
        let _ = std::fs::remove_file(data_dir.join(ADDRESS_FILE));
        if ended { Ok(()) } else { Err("an owner did not end cleanly") }
    }
}

fn open_log(config: &Config, clock: &dyn Clock) -> Result<Arc<Embedded>, OpenError> {
    let log_id = draw_wide();
    Embedded::open(&config.data_dir, Options { partitions: config.partitions, log_id, now: clock.now() })
}

#[expect(clippy::disallowed_methods, reason = "the composition root draws identities")]
fn draw() -> u64 {
    rand::random()
}

fn draw_wide() -> u128 {
    (u128::from(draw()) << 64) | u128::from(draw())
}

fn write_address(data_dir: &Path, address: SocketAddr) -> Result<(), StartError> {
    let path = data_dir.join(ADDRESS_FILE);
    let line = format!("{address} {}\n", std::process::id());
    std::fs::write(&path, line).map_err(|error| StartError::Io(path, error))
}

/// One owner's thread.
struct Owner {
    shared: Arc<Shared>,
    partitions: u32,
    log: Arc<Embedded>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replies: Arc<dyn ReplyChannel>,
    checkpointer: Checkpointer,
    metrics: Arc<Metrics>,
}

impl Owner {
    fn run(self) {
        let partition = self.shared.read(crate::replica::PartitionState::partition);
        let _abort = AbortOnPanic { partition, metrics: &self.metrics };
        let recovery = Recovery {
            log_id: self.log.manifest().log_id,
            tail: self.log.as_ref(),
            store: self.store.as_ref(),
            clock: self.clock.as_ref(),
            report: self.metrics.as_ref(),
        };
        let owned = match recovery.claim(self.log.as_ref(), &self.shared, partition) {
            Ok(owned) => owned,
            Err(error) => {
                if let ClaimError::Breach(breach) = &error {
                    self.metrics.breach(breach);
                }
                let why = error.to_string();
                return self.end(partition, &why, Mood::Lost(why.clone()));
            }
        };
        self.look_at_the_clock(partition);
        let owner = self.shared.read(|state| Partition::claim(state, self.partitions));
        let shell = Shell {
            log: owned,
            owner,
            shared: Arc::clone(&self.shared),
            clock: self.clock.as_ref(),
            replies: self.replies.as_ref(),
            checkpointer: &self.checkpointer,
            report: self.metrics.as_ref(),
        };
        match shell.run(draw()) {
            End::Closed => self.shared.set_mood(Mood::Stopped),
            End::Fenced => self.halt(partition, "another owner has the partition"),
            // The log knows what it failed at, and says so from then on.
            End::Unknown(why) => match self.log.end(partition) {
                Err(error) => self.halt(partition, &format!("{why}: {error}")),
                Ok(_) => self.halt(partition, &why),
            },
            // What was committed cannot follow on what was there: whatever this process believes is wrong.
            End::Breach(breach) => {
                self.metrics.breach(&breach);
                panic!("{breach}");
            }
        }
    }

    /// The partition stays readable, and answers nobody until the process is started again.
    fn halt(&self, partition: u32, why: &str) {
        self.end(partition, why, Mood::Halted(why.to_owned()));
    }

    fn end(&self, partition: u32, why: &str, mood: Mood) {
        self.log.close_partition(partition);
        self.metrics.halted(partition, why);
        self.shared.set_mood(mood);
    }

    /// A log written by a clock that was ahead goes by that clock until this one has caught up: holds expire late, and
    /// cutoffs pass early.
    fn look_at_the_clock(&self, partition: u32) {
        let ahead_ms = self.shared.ahead_us(self.clock.now()) / 1_000;
        if ahead_ms > 1_000 {
            tracing::error!(partition, ahead_ms, "the log's last event is later than this machine's clock: check both");
        }
    }
}

/// An owner that panics has broken a law: better no process than one that goes on.
struct AbortOnPanic<'a> {
    partition: u32,
    metrics: &'a Metrics,
}

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.metrics.halted(self.partition, "the owner panicked; the process aborts");
            std::process::abort();
        }
    }
}
