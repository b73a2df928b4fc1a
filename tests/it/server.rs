//! The whole service in a test's hands: the real composition in this process, over a data directory and a loopback
//! port, at a time of the test's choosing.

use crate::process::once_free;
use crate::wait::until;
use headroom::app::App;
use headroom::config::{Config, Inputs};
use headroom::gateway::Gateway;
use headroom::replica::PartitionStatus;
use headroom::service::Service;
use headroom::telemetry::Metrics;
use headroom::time::{Clock, SystemClock};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Where everything asynchronous of the tests' servers runs.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

/// A running service; dropping it shuts it down and waits for that.
pub struct Server {
    pub address: SocketAddr,
    pub gateway: Arc<Gateway>,
    pub service: Arc<Service>,
    running: Option<Running>,
    /// Its directory, if it is nobody else's.
    _dir: Option<TempDir>,
}

/// The way to end it, and its end.
struct Running {
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), &'static str>>,
}

impl Server {
    /// How a server over this directory is configured.
    pub fn config(data_dir: &Path, partitions: u32) -> Config {
        let mut config = Config::load(&Inputs::default()).unwrap();
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.data_dir = data_dir.to_owned();
        config.partitions = Some(partitions);
        config
    }

    /// Serving, with every partition ready.
    pub fn start(data_dir: &Path, partitions: u32, clock: Arc<dyn Clock>) -> Server {
        Server::ready(&Server::config(data_dir, partitions), clock)
    }

    /// The same as it is configured.
    pub fn ready(config: &Config, clock: Arc<dyn Clock>) -> Server {
        let server = Server::of(config, clock);
        for handle in server.gateway.replica().partitions() {
            until("the partition is ready", || handle.status() != PartitionStatus::Restoring);
        }
        server
    }

    /// Serving as it is configured; partitions may not be ready.
    pub fn of(config: &Config, clock: Arc<dyn Clock>) -> Server {
        let start = || {
            let metrics = Arc::new(Metrics::new());
            runtime().block_on(App::start(config, Arc::clone(&clock), metrics, &Arc::default()))
        };
        let app = once_free(start).unwrap_or_else(|error| panic!("{error}"));
        let (address, gateway, service) = (app.address(), Arc::clone(app.gateway()), Arc::clone(app.service()));
        let (stop, stopped) = oneshot::channel();
        let run = runtime().spawn(app.run(async move { drop(stopped.await) }));
        Server { address, gateway, service, running: Some(Running { stop, run }), _dir: None }
    }

    /// Over a new log, by the machine's clock, with one partition, so that sequence numbers are the same in every run.
    pub fn alone() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(dir.path(), 1, Arc::new(SystemClock::new()));
        server._dir = Some(dir);
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Running { stop, run }) = self.running.take().filter(|_| !std::thread::panicking()) {
            stop.send(()).unwrap();
            runtime().block_on(run).unwrap().unwrap();
        }
    }
}
