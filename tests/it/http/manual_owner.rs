//! The API over a real gateway and a real log, with the owner and the clock in a test's hands: a command is decided
//! when the test says so, and the log takes what the test lets it take.

use super::client::{Client, Reply, request};
use crate::fixtures::{NOW, pool_id, reservation_id};
use crate::wait::until;
use crate::world::{ManualClock, World, becomes, commit_turn};
use headroom::api::http::{self, State};
use headroom::domain::{Attempt, ChainedEvent, CommandBody, EventKind, Ledger, Micros, ReservationId};
use headroom::gateway::{Gateway, PendingCounts};
use headroom::log::embedded::{Embedded, Owned};
use headroom::log::{AppendError, CommandSink, CommittedTail, NewCommand};
use headroom::owner::Partition;
use headroom::replica::{PartitionHandle, PartitionStatus, Replica};
use headroom::service::Service;
use headroom::telemetry::Metrics;
use headroom::time::Clock as _;
use headroom::trace::Tracing;
use headroom::wire;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// What callers here wait: the gateway looks at its clock about that often.
pub const TIMEOUT_MS: u64 = 20;

/// A log that can be told to take nothing.
pub struct Gate {
    log: Arc<Embedded>,
    pub refuses: Mutex<Option<AppendError>>,
    taken: Mutex<Vec<(CommandBody, Attempt)>>,
}

impl CommandSink for Gate {
    fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError> {
        self.refuses.lock().map_or(Ok(()), Err)?;
        self.log.append(command)?;
        let command = wire::command::decode(command.bytes).unwrap();
        self.taken.lock().push((command.body, command.attempt));
        Ok(())
    }

    fn waiting(&self, partition: u32) -> usize {
        self.log.waiting(partition)
    }

    fn stalled(&self, _: u32) -> Duration {
        Duration::ZERO
    }
}

pub struct Desk {
    pub address: SocketAddr,
    pub gateway: Arc<Gateway>,
    pub gate: Arc<Gate>,
    pub clock: Arc<ManualClock>,
    world: World,
    owner: Partition,
    handle: Arc<PartitionHandle>,
    owned: Owned,
    runtime: Runtime,
    pub closing: Option<oneshot::Sender<()>>,
}

impl Desk {
    /// With this many partitions, of which the test decides for the first.
    pub fn of(partitions: u32) -> Desk {
        let desk = Desk::restoring(partitions);
        desk.gateway.replica().partitions().for_each(|handle| becomes(handle, PartitionStatus::Active));
        desk
    }

    /// The same before any partition is served: all of them are being restored.
    pub fn restoring(partitions: u32) -> Desk {
        let world = World::new(partitions);
        let replica = Arc::new(Replica::new(partitions));
        let (handle, owned) = world.recover_in(&replica, 0);
        let owner = handle.read(|state| Partition::claim(state, partitions));
        let clock = Arc::new(ManualClock::at(NOW));
        let log = Arc::clone(&world.log);
        let gate = Arc::new(Gate { log, refuses: Mutex::new(None), taken: Mutex::new(Vec::new()) });
        let tail = Arc::clone(&world.log) as Arc<dyn CommittedTail>;
        let sink = Arc::clone(&gate) as Arc<dyn CommandSink>;
        let gateway = Arc::new(Gateway::new(7, 250, sink, replica, Arc::clone(&clock) as _));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let service = Arc::new(Service::new(Arc::clone(&gateway), (world.log.manifest().log_id, tail), 7));
        let state = State::new(service, Arc::new(Metrics::new()), Arc::new(Tracing::off(|| 7)));
        let (closing, closed) = oneshot::channel::<()>();
        runtime.spawn(http::serve(listener, state, async move { drop(closed.await) }));
        let keeper = Arc::clone(&gateway);
        runtime.spawn(async move { keeper.keep_deadlines().await });
        let closing = Some(closing);
        Desk { address, gateway, gate, clock, world, owner, handle, owned, runtime, closing }
    }

    /// With one partition, and a pool `p` of one order.
    pub fn new() -> Desk {
        let mut desk = Desk::of(1);
        let defined = desk.ask("PUT", "/v1/pools/p", &["Request-Timeout-Ms: 5000"], r#"{"limits":{"orders":1}}"#);
        assert_eq!(defined.status, 201, "{defined:?}");
        desk
    }

    /// Sends a request of which nobody hears the answer yet.
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Client {
        let mut client = Client::connect(self.address);
        client.write(&request(method, path, headers, body.as_bytes()));
        client
    }

    /// Sends a Reserve of one order under this key, and waits until the log has it.
    pub fn reserve(&self, key: &str) -> Client {
        let before = self.taken().len();
        let (key, timeout) = (format!("Idempotency-Key: {key}"), format!("Request-Timeout-Ms: {TIMEOUT_MS}"));
        let client = self.send("POST", "/v1/reservations", &[&key, &timeout], ONE);
        until("the log has the Reserve", || self.taken().len() > before);
        client
    }

    /// Sends a request, decides it, and hears the answer.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let before = self.taken().len();
        let mut client = self.send(method, path, headers, body);
        until("the log has the command", || self.taken().len() > before);
        self.decide();
        client.read().unwrap()
    }

    /// What the log took, in order.
    pub fn taken(&self) -> Vec<(CommandBody, Attempt)> {
        self.gate.taken.lock().clone()
    }

    /// Decides what waits, commits it, and tells the gateway.
    pub fn decide(&mut self) -> Vec<EventKind> {
        self.decide_at(self.clock.now())
    }

    /// The same, by an owner whose clock says this.
    pub fn decide_at(&mut self, now: Micros) -> Vec<EventKind> {
        let decided = commit_turn(&self.owner, &self.handle, &mut self.owned, now);
        let kinds = decided.iter().map(|decided| decided.event.body.kind()).collect();
        self.gateway.decided(decided.into_iter().filter(|decided| {
            // What nobody waits for is told to nobody.
            decided.event.command().is_some_and(|command| command.reply_to.is_some())
        }));
        kinds
    }

    /// Decides what waits and commits it: the replies are lost.
    pub fn decide_untold(&mut self) -> Vec<ChainedEvent> {
        commit_turn(&self.owner, &self.handle, &mut self.owned, self.clock.now())
    }

    /// So long after the start.
    pub fn at(&self, ms: u64) {
        self.clock.set(NOW.plus_ms(ms));
    }

    /// Whether what this key reserved takes capacity, and how many orders do.
    pub fn holds(&self, key: &str) -> (bool, u64) {
        let pool = pool_id("p");
        let id = id(key);
        self.handle.read(|state| {
            let is_live = state.reservation(&id).is_some_and(|r| r.status.is_live());
            (is_live, state.pool(&pool).unwrap().used.iter().map(|(_, units)| units).sum())
        })
    }

    /// L7 and nothing left waiting.
    pub fn end(self) {
        self.world.assert_recovers_alike(&self.handle, "at the end");
        assert_eq!(self.gateway.pending(), PendingCounts::default());
        assert_eq!(self.gateway.in_flight().sum::<usize>(), 0);
        self.runtime.shutdown_background();
    }

    /// Runs this on the desk's runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// A Reserve of one order.
pub const ONE: &str = r#"{"pool":"p","demand":{"orders":1}}"#;

/// What the key makes in `p`.
pub fn id(key: &str) -> ReservationId {
    reservation_id(&pool_id("p"), key)
}
