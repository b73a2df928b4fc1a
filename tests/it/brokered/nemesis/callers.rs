//! Callers of all gateways at once, who write down what they were told and when. They want more than there is, retry
//! under the same key, give up early, leave without an answer, ask two gateways at once, give back what they have, and
//! go to the next gateway when a connection breaks.

use crate::brokered::serve::Whereabouts;
use crate::openapi_check::{Asked, check_body};
use headroom::audit::history::{Call, Told};
use headroom::client::reserve_answer::ReserveAnswer;
use headroom::client::{Answer, CallError, Connection, Method, Outgoing, bare, json, keyed, path, timed};
use headroom::domain::{IdempotencyKey, PoolId, ReservationId};
use headroom::time::Stopwatch;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Callers, each of whom begins something new as often as this.
const CALLERS: u64 = 160;
const EVERY: Duration = Duration::from_millis(550);
/// Reservations a caller has before it gives one back.
const HELD_MAX: usize = 2;
/// How long after the deadline a caller still listens.
const LISTENS: Duration = Duration::from_secs(2);
/// Between two control requests to a process.
const PROBE_EVERY: Duration = Duration::from_millis(10);

/// How a call ended for who made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum How {
    /// The owner said yes.
    Yes,
    /// The owner said no.
    No,
    /// A gateway said no: too late or to no avail, and nothing is applied.
    Shed,
    /// A gateway said that nobody knows.
    Unknown,
    /// There was no connection to ask over.
    NotSent,
    /// The connection broke.
    Broken,
    /// The caller left before its deadline.
    Left,
    /// There was no answer long after the deadline.
    Silent,
    /// The answer is none.
    Unreadable,
}

/// One call. Times are since the callers began.
pub struct Spoken {
    pub process: usize,
    pub partition: usize,
    pub begun: Duration,
    pub took: Duration,
    pub deadline: Duration,
    pub how: How,
    pub is_reserve: bool,
    /// The problem's code, of what was refused.
    pub code: &'static str,
    pub call: Call,
}

/// A control request: how long a process took, and this one, to do next to nothing.
pub struct Probe {
    pub begun: Duration,
    pub took: Duration,
}

/// Everything that was written down.
#[derive(Default)]
pub struct Notes {
    pub spoken: Vec<Spoken>,
    pub probes: Vec<Vec<Probe>>,
    /// Reservations that were told yes, and could not be released.
    pub refused: Vec<ReservationId>,
}

struct Common {
    clock: Stopwatch,
    processes: Vec<Whereabouts>,
    pools: Vec<(PoolId, usize)>,
    is_over: AtomicBool,
    notes: Mutex<Notes>,
    /// When each partition last decided something for somebody.
    decided: Mutex<Vec<Duration>>,
}

/// The callers of one phase, who go on until they are told to stop.
pub struct Callers {
    common: Arc<Common>,
    runtime: Runtime,
    tasks: Vec<JoinHandle<()>>,
    probes: Vec<JoinHandle<()>>,
}

impl Callers {
    /// Callers of these pools, each with its partition.
    pub fn start(processes: Vec<Whereabouts>, pools: Vec<(PoolId, usize)>, partitions: usize, seed: u64) -> Callers {
        let probes = processes.iter().map(|_| Vec::new()).collect();
        let common = Arc::new(Common {
            clock: Stopwatch::start(),
            pools,
            is_over: AtomicBool::new(false),
            notes: Mutex::new(Notes { probes, ..Notes::default() }),
            decided: Mutex::new(vec![Duration::ZERO; partitions]),
            processes,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut tasks = Vec::new();
        for n in 0..CALLERS {
            let mut caller = Caller::new(Arc::clone(&common), seed.wrapping_mul(CALLERS).wrapping_add(n));
            tasks.push(runtime.spawn(async move { caller.run().await }));
        }
        let probes = (0..common.processes.len()).map(|process| runtime.spawn(probe(Arc::clone(&common), process)));
        let probes = probes.collect();
        Callers { common, runtime, tasks, probes }
    }

    /// Since they began.
    pub fn elapsed(&self) -> Duration {
        self.common.clock.elapsed()
    }

    /// Whether every partition has decided something since then.
    pub fn all_decided_since(&self, then: Duration) -> bool {
        self.common.decided.lock().iter().all(|at| *at > then)
    }

    /// Has them finish what they are at.
    pub fn stop(self) -> Notes {
        self.common.is_over.store(true, Relaxed);
        for task in self.tasks {
            self.runtime.block_on(task).unwrap();
        }
        // They see the last calls to their end.
        self.probes.iter().for_each(JoinHandle::abort);
        std::mem::take(&mut *self.common.notes.lock())
    }
}

async fn probe(common: Arc<Common>, process: usize) {
    let mut to = Line::default();
    let mut pace = interval(PROBE_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        pace.tick().await;
        let Some(connection) = to.connection(&common.processes[process]) else { continue };
        let begun = common.clock.elapsed();
        let answer = connection.call(bare(Method::GET, path("/livez").unwrap()), Duration::from_secs(60)).await;
        let took = common.clock.elapsed().saturating_sub(begun);
        if answer.is_ok() {
            common.notes.lock().probes[process].push(Probe { begun, took });
        }
    }
}

/// To one process, wherever it is now.
#[derive(Default)]
struct Line(Option<(SocketAddr, Connection)>);

impl Line {
    fn connection(&mut self, at: &Whereabouts) -> Option<&mut Connection> {
        let address = at.now()?;
        if self.0.as_ref().is_none_or(|(known, _)| *known != address) {
            self.0 = Some((address, Connection::new(address)));
        }
        self.0.as_mut().map(|(_, connection)| connection)
    }
}

struct Caller {
    common: Arc<Common>,
    random: StdRng,
    lines: Vec<Line>,
    /// The gateway it asks.
    at: usize,
    /// What it was told it has, and whether nobody but itself ends it.
    held: Vec<(PoolId, usize, ReservationId, bool)>,
}

/// What a call is about, and how long it is waited for.
struct About {
    pool: PoolId,
    partition: usize,
    key: Option<IdempotencyKey>,
    reservation: Option<ReservationId>,
    deadline: Duration,
    /// Less than the deadline of who leaves.
    patience: Duration,
}

impl Caller {
    fn new(common: Arc<Common>, seed: u64) -> Caller {
        let mut random = StdRng::seed_from_u64(seed);
        let lines: Vec<Line> = common.processes.iter().map(|_| Line::default()).collect();
        let at = random.random_range(0..lines.len());
        Caller { common, random, lines, at, held: Vec::new() }
    }

    async fn run(&mut self) {
        let mut pace = interval(EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.common.is_over.load(Relaxed) {
            pace.tick().await;
            let gives_back = !self.held.is_empty() && (self.held.len() >= HELD_MAX || self.random.random_bool(0.3));
            if gives_back { self.release().await } else { self.reserve().await }
        }
    }

    async fn reserve(&mut self) {
        let (pool, partition) = self.common.pools[self.random.random_range(0..self.common.pools.len())].clone();
        let key = IdempotencyKey::new(&format!("{:016x}", self.random.next_u64())).unwrap();
        let is_hold = self.random.random_bool(0.2);
        let ttl = if is_hold { r#","hold_ttl_ms":1500"# } else { "" };
        let body = format!(r#"{{"pool":"{}","demand":{{"orders":1}}{ttl}}}"#, pool.as_str());
        let tries = self.random.random_range(1..=3);
        for _ in 0..tries {
            let deadline = Duration::from_millis(match self.random.random_range(0..10) {
                0..2 => self.random.random_range(2..30),
                2..8 => 1_000,
                _ => 2_500,
            });
            let leaves = self.random.random_bool(0.03);
            let patience = if leaves { deadline / 3 } else { deadline + LISTENS };
            let about =
                About { pool: pool.clone(), partition, key: Some(key.clone()), reservation: None, deadline, patience };
            let request = || {
                let post = json(Method::POST, path("/v1/reservations").unwrap(), body.clone());
                timed(keyed(post, key.as_str()), u64::try_from(deadline.as_millis()).unwrap())
            };
            let hows = if self.random.random_bool(0.05) {
                self.ask_two(&about, request(), request()).await
            } else {
                self.ask(&about, request()).await.into_iter().collect()
            };
            for (how, reservation) in hows {
                if let Some(id) = reservation
                    && !self.held.iter().any(|held| held.2 == id)
                {
                    self.held.push((pool.clone(), partition, id, !is_hold));
                }
                // A final answer is seldom asked for again.
                if matches!(how, How::Yes | How::No) && self.random.random_bool(0.9) {
                    return;
                }
            }
        }
    }

    async fn release(&mut self) {
        let at = self.random.random_range(0..self.held.len());
        let (pool, partition, id, is_ours) = self.held.swap_remove(at);
        let deadline = Duration::from_millis(1_000);
        let patience = deadline + LISTENS;
        let about = About { pool, partition, key: None, reservation: Some(id), deadline, patience };
        let request = bare(Method::DELETE, path(&format!("/v1/reservations/{id}")).unwrap());
        let Some((how, _)) = self.ask(&about, timed(request, 1_000)).await else { return };
        // What was told yes is there until it is given back, whichever gateway is asked.
        if is_ours && how == How::No {
            self.common.notes.lock().refused.push(id);
        }
    }

    /// Asks the gateway at hand, or the next one that runs.
    async fn ask(&mut self, about: &About, request: Outgoing) -> Option<(How, Option<ReservationId>)> {
        let at = self.running()?;
        let connection = self.lines[at].connection(&self.common.processes[at])?;
        let said = ask(&self.common, (at, connection), about, request).await;
        if matches!(said.0, How::NotSent | How::Broken | How::Silent) {
            self.at = (at + 1) % self.lines.len();
        }
        Some(said)
    }

    /// Asks two gateways the same at the same time.
    async fn ask_two(&mut self, about: &About, one: Outgoing, other: Outgoing) -> Vec<(How, Option<ReservationId>)> {
        let (first, rest) = self.lines.split_at_mut(1);
        let common = &self.common;
        let there = first[0].connection(&common.processes[0]).zip(rest[0].connection(&common.processes[1]));
        let Some((first, second)) = there else { return Vec::new() };
        let (first, second) = tokio::join!(
            ask(common, (0, first), about, one), //
            ask(common, (1, second), about, other)
        );
        vec![first, second]
    }

    fn running(&mut self) -> Option<usize> {
        let of = self.lines.len();
        let at = (0..of).map(|n| (self.at + n) % of).find(|at| self.common.processes[*at].now().is_some())?;
        self.at = at;
        Some(at)
    }
}

async fn ask(
    common: &Common,
    (process, connection): (usize, &mut Connection),
    about: &About,
    request: Outgoing,
) -> (How, Option<ReservationId>) {
    let asked = Asked::new(request.method().as_str(), request.uri().path());
    let begun = common.clock.elapsed();
    let ended = connection.call(request, about.patience).await;
    let took = common.clock.elapsed().saturating_sub(begun);
    if let Ok(answer) = &ended {
        check_body(&asked, answer.status, &answer.body);
    }
    let is_reserve = about.reservation.is_none();
    let (how, code, told) = if is_reserve { reserved(&ended, about) } else { released(&ended) };
    if matches!(how, How::Yes | How::No) {
        let mut decided = common.decided.lock();
        decided[about.partition] = decided[about.partition].max(begun);
    }
    let reservation = match &told {
        Told::Yes(proof) => Some(proof.reservation),
        _ => about.reservation,
    };
    let call = Call { pool: about.pool.clone(), key: about.key.clone(), reservation, told };
    let (partition, deadline) = (about.partition, about.deadline);
    common.notes.lock().spoken.push(Spoken { process, partition, begun, took, deadline, how, is_reserve, code, call });
    (how, reservation)
}

fn reserved(ended: &Result<Answer, CallError>, about: &About) -> (How, &'static str, Told) {
    let ending = ReserveAnswer::of(ended);
    let (how, code) = match (&ending, ended) {
        (ReserveAnswer::Yes(_), _) => (How::Yes, "yes"),
        (_, Err(CallError::NotSent(_))) => (How::NotSent, "not_sent"),
        (_, Err(CallError::Broken(_))) => (How::Broken, "broken"),
        (_, Err(CallError::GaveUp)) if about.patience < about.deadline => (How::Left, "left"),
        (_, Err(CallError::GaveUp)) => (How::Silent, "silent"),
        (ReserveAnswer::No(code @ ("timeout" | "shed" | "no_owner" | "closing" | "other")), _) => (How::Shed, *code),
        (ReserveAnswer::No(code), _) => (How::No, *code),
        (ReserveAnswer::Unknown, _) => (How::Unknown, "unknown"),
        (ReserveAnswer::Unreadable, _) => (How::Unreadable, "unreadable"),
    };
    (how, code, ending.told())
}

/// A release that was not told done may or may not be.
fn released(ended: &Result<Answer, CallError>) -> (How, &'static str, Told) {
    let (how, code) = match ended {
        Ok(answer) if answer.status == 200 => return (How::Yes, "released", Told::Released),
        Ok(answer) if matches!(answer.status, 503 | 504) => (How::Unknown, "release unknown"),
        Ok(_) => match ReserveAnswer::of(ended) {
            ReserveAnswer::No(code) => (How::No, code),
            _ => (How::Unreadable, "unreadable"),
        },
        Err(CallError::NotSent(_)) => (How::NotSent, "not_sent"),
        Err(CallError::Broken(_)) => (How::Broken, "broken"),
        Err(CallError::GaveUp) => (How::Silent, "silent"),
    };
    (how, code, Told::Unknown)
}
