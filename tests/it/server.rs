//! The whole service in a test's hands: the real composition over a temporary directory and a loopback port, at a time
//! of the test's choosing.

use headroom::app::App;
use headroom::config::{Config, Inputs};
use headroom::gateway::Gateway;
use headroom::replica::Mood;
use headroom::telemetry::Metrics;
use headroom::time::Clock;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

pub struct Server {
    pub address: SocketAddr,
    pub gateway: Arc<Gateway>,
    running: Option<Running>,
}

/// The way to end it, and its end.
struct Running {
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), &'static str>>,
}

impl Server {
    /// Serving, with every partition ready.
    pub fn start(data_dir: &Path, partitions: u32, clock: Arc<dyn Clock>) -> Server {
        let mut config = Config::load(&Inputs::default()).unwrap();
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.data_dir = data_dir.to_owned();
        config.partitions = Some(partitions);
        let app = runtime().block_on(App::start(&config, clock, Arc::new(Metrics::new()))).unwrap();
        let (address, gateway) = (app.address(), Arc::clone(app.gateway()));
        let (stop, stopped) = oneshot::channel();
        let run = runtime().spawn(app.run(async move { drop(stopped.await) }));
        let server = Server { address, gateway, running: Some(Running { stop, run }) };
        for shared in server.gateway.replica().partitions() {
            while shared.mood() == Mood::Rebuilding {
                std::thread::yield_now();
            }
        }
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
