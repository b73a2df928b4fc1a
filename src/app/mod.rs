//! The composition root: it chooses the adapters, starts the threads, and defines the order in which everything ends.

mod access;
mod archive;
mod canary;
mod clock;
mod cluster;
mod disk;
mod embedded;
mod files;
mod hold;
mod kafka;
mod level;
mod local;
mod looks;
mod memory;
mod owner;
mod owning;
mod places;
mod private;
mod process;
mod shutdown;
pub mod signals;
mod snapshots;
mod start_error;
mod swapping;
mod tls;
mod withdrawal;
mod witness;

pub use access::new_token;
pub use archive::archive;
pub use hold::Hold;
pub use kafka::settings::{asked, cluster, look, look_to_write, registry};
pub use level::{check as check_level, level, raise as raise_level};
pub use local::{ADDRESS_FILE, Location, read_address, read_local_token};
pub use places::is_elsewhere;
pub use private::write_private;
pub use snapshots::snapshots;
pub use start_error::StartError;
pub use witness::{losses, nothing_was_seen, open, open_as_it_is, seen, told};

use crate::access::Access;
use crate::api::http;
use crate::config::Config;
use crate::gateway::{Gateway, PendingCounts};
use crate::limits::STARTUP_LINE_MS;
use crate::log::{CommittedTail, Opening};
use crate::service::Service;
use crate::telemetry::{Metrics, TraceExport};
use crate::threads;
use crate::time::Clock;
use crate::tls::Server;
use crate::trace::Tracing;
use canary::Canaries;
use local::LocalFiles;
use shutdown::Shutdown;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use swapping::Swapping;
use tokio::net::TcpListener;

/// Longest wait at shutdown until the Abandons are in the log.
const ABANDONS_DRAIN: Duration = Duration::from_secs(1);

/// The parts that depend on the kind of log: the gateway, and the threads that own and follow partitions.
struct LogRuntime {
    gateway: Arc<Gateway>,
    log_id: u128,
    tail: Arc<dyn CommittedTail>,
    swapping: Arc<Swapping>,
    /// Ends the threads in their order, once no call is in flight; returns whether all ended cleanly. It blocks.
    end: Box<dyn FnOnce() -> bool + Send>,
}

/// The running service.
pub struct App {
    address: SocketAddr,
    listener: TcpListener,
    data_dir: PathBuf,
    local_files: LocalFiles,
    runtime: LogRuntime,
    service: Arc<Service>,
    metrics: Arc<Metrics>,
    export: Option<Arc<TraceExport>>,
    access: Arc<Access>,
    canaries: Canaries,
    state: http::State,
    tls: Option<Arc<Server>>,
}

impl App {
    /// Opens the log, starts the threads that own and follow partitions, and listens. States are rebuilt meanwhile;
    /// `/readyz` says when all of them are. `opening` tells how far the log is open, and can give it up.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        opening: &Arc<Opening>,
    ) -> Result<App, StartError> {
        let data_dir = config.data_dir.clone();
        let listen = config.listen;
        places::check(config)?;
        files::raise();
        files::close(&data_dir);
        let tls = config.tls.clone().map(Server::load).transpose().map_err(StartError::Tls)?.map(Arc::new);
        let listener = TcpListener::bind(listen).await.map_err(|e| StartError::Listen(listen, e))?;
        let address = listener.local_addr().map_err(|e| StartError::Listen(listen, e))?;
        let export = |traces| TraceExport::start(traces, draw(), Arc::clone(&clock), &metrics).map(Arc::new);
        let export = config.traces.as_ref().map(export).transpose().map_err(StartError::Traces)?;
        let tracing = Arc::new(match &export {
            Some(export) => Tracing::to(Arc::clone(export) as _, draw),
            None => Tracing::off(draw),
        });
        let token = new_token();
        let local_token = token.text.clone();
        let access = Arc::new(access::open(config, token, Arc::clone(&clock))?);
        metrics.watch_access(&access);
        let canaries = Canaries::new(config, &tracing);
        let runtime = {
            let told = (Arc::clone(&metrics), Arc::clone(&tracing));
            let (config, of) = (config.clone(), Arc::clone(opening));
            let clock = Arc::clone(&clock);
            let started = tokio::task::spawn_blocking(move || {
                let _watched = threads::watch("opening");
                match &config.kafka {
                    Some(kafka) => kafka::start(&config, kafka, clock, told, &of),
                    None => embedded::start(&config, clock, told, &of),
                }
            });
            let ready = async { tokio::join!(told_until(opening, started), access::first_keys(&access)) };
            let gone = |error: tokio::task::JoinError| StartError::Io(data_dir.clone(), error.into());
            let (started, ()) = http::starting(&listener, opening, &tracing, tls.as_ref(), ready).await;
            started.map_err(gone)??
        };
        let local_files = LocalFiles::write(&data_dir, address, local_token, tls.clone());
        let connections = files::connections(runtime.tail.partitions(), config.connections_per_address);
        let limits = http::Limits { connections, ..http::Limits::default() };
        let log = (runtime.log_id, Arc::clone(&runtime.tail));
        let service = Service::new(Arc::clone(&runtime.gateway), log, draw_wide());
        let service = service.swapping(Arc::clone(&runtime.swapping) as _).limited(config.quota.clone(), clock);
        let service = Arc::new(service);
        metrics.watch_service(&service);
        let state = http::State::new(Arc::clone(&service), Arc::clone(&metrics) as _, tracing).limits(limits);
        let state = state
            .hosts(http::Hosts::new(config.hosts.clone()))
            .access(Arc::clone(&access))
            .open(config.open)
            .settings(config.dump())
            .tls(tls.clone());
        Ok(App {
            address,
            listener,
            data_dir,
            local_files,
            runtime,
            service,
            metrics,
            export,
            access,
            canaries,
            state,
            tls,
        })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that the server is called under, without a slash at its end.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The gateway of this process, for code that reads its partitions.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.runtime.gateway
    }

    /// The use cases, which every edge calls.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// How callers are known.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Serves until `shutdown`, then in this order: readiness off, calls in flight answered, their Abandons in the log,
    /// commands of this process in the log, owners ended, checkpoints written. All of it takes at most
    /// [`LEAVE_MS`](crate::limits::LEAVE_MS) plus [`SHUTDOWN_MS`](crate::limits::SHUTDOWN_MS): then the process logs which
    /// threads still run, and ends.
    ///
    /// # Errors
    /// When the owners did not end cleanly.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), &'static str> {
        // It is made first and so dropped last: its limit also covers the waits in the drops of the others.
        let shutting_down = Shutdown::default();
        let App {
            listener,
            data_dir,
            local_files,
            runtime,
            metrics,
            export,
            access,
            canaries,
            state,
            tls,
            service,
            ..
        } = self;
        let LogRuntime { gateway, end, .. } = runtime;
        let deadlines = tokio::spawn({
            let gateway = Arc::clone(&gateway);
            async move {
                let _watched = threads::watch("deadlines");
                gateway.keep_deadlines().await;
            }
        });
        let watching = tokio::spawn(clock::watch(Arc::clone(&gateway), Arc::clone(&metrics)));
        let readiness = tokio::spawn({
            let gateway = Arc::clone(&gateway);
            async move {
                let _watched = threads::watch("readiness");
                gateway.keep_watch().await;
            }
        });
        let certificates = tls.map(|tls| tokio::spawn(tls::watch(tls, Arc::clone(&gateway), Arc::clone(&metrics))));
        let locals = tokio::spawn(local_files.written());
        let disk = tokio::spawn(disk::watch(data_dir.clone(), Arc::clone(&metrics)));
        let memory = tokio::spawn(memory::watch(Arc::clone(&gateway), Arc::clone(&metrics)));
        let [files, keys] = access::keep(&access);
        let canaries = canaries.start(&gateway, &service, &metrics);
        let on_shutdown = async {
            shutdown.await;
            shutting_down.begin();
        };
        http::serve(listener, state, on_shutdown).await;
        metrics.requests_are_over();
        // The Abandons of callers who left have to be in the log as well.
        if tokio::time::timeout(ABANDONS_DRAIN, gateway.drained()).await.is_err() {
            let PendingCounts { calls, abandons } = gateway.pending();
            tracing::warn!(calls, abandons, "some Abandons of callers who left are not in the log");
        }
        let ended = tokio::task::spawn_blocking(move || {
            let ended = end();
            // The owners have recorded their last spans.
            if let Some(export) = export {
                export.end();
            }
            ended
        });
        let ended = ended.await.unwrap_or(false);
        for task in [deadlines, watching, readiness, locals, disk, memory, files, keys]
            .into_iter()
            .chain(certificates)
            .chain(canaries)
        {
            task.abort();
            // The gateway keeps the log open until it is dropped.
            let _ = task.await;
        }
        local::remove(&data_dir);
        if ended { Ok(()) } else { Err("an owner did not end cleanly") }
    }
}

/// Logs the progress of opening the log from time to time, until `work` is done.
async fn told_until<T>(opening: &Opening, work: impl Future<Output = T>) -> T {
    let mut lines = tokio::time::interval(Duration::from_millis(STARTUP_LINE_MS));
    // The first one is due at once.
    lines.tick().await;
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = lines.tick() => {
                let (read_bytes, of_bytes) = opening.told().unwrap_or_default();
                tracing::info!(read_bytes, of_bytes, "the log is being opened");
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the composition root draws identities")]
fn draw() -> u64 {
    rand::random()
}

fn draw_wide() -> u128 {
    (u128::from(draw()) << 64) | u128::from(draw())
}

/// Starts a thread.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let io = |error| StartError::Io(PathBuf::from(format!("thread {name}")), error);
    threads::spawn(name, work).map_err(io)
}
