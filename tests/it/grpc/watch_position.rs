//! A watch with conditions that goes on from a position: what it tells of a pool was true of it, whatever has happened
//! since, and however far this process has come.

use super::watch::{Reader, definition, one};
use super::{CapacityClient, client};
use crate::fixtures::{NOW, append, command, name, open_pool, orders, pool_id, pools_of, reserve};
use crate::server::{Server, runtime};
use crate::wait::{PATIENCE, until};
use crate::world::{ManualClock, World, becomes};
use headroom::api::grpc::v1::{self, pool_changed::Kind};
use headroom::domain::coverage::Query;
use headroom::domain::{Command, CommandBody, EventKind, Micros, PoolChange, PoolId, PoolSpec};
use headroom::gateway::Gateway;
use headroom::limits::{DEADLINE_MAX_MS, DEDUP_WINDOW_MS, WATCH_LOOK_MS};
use headroom::log::embedded::Owned;
use headroom::log::{CommandSink, CommitOutcome, CommittedTail, LogError, OwnedPartition, StoredEvent};
use headroom::owner::recover::rebuild;
use headroom::owner::{Partition, Staged};
use headroom::replica::{PartitionHandle, PartitionStatus, Replica};
use headroom::service::Service;
use headroom::service::watch::{Change, Steps, Update, WATCH_QUIET_MS, WatchFilter};
use headroom::time::{Stopwatch, SystemClock};
use headroom::wire;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tonic::Request;
use tonic::transport::Channel;

/// What happens to a pool. Watched are those whose label `t` is 1.
#[derive(Clone, Copy)]
enum Act {
    /// All that is said of it is this label.
    Define(&'static str),
    Label(&'static str),
    Limit,
    Reserve,
    Retire,
}

struct Case {
    pool: &'static str,
    /// Before the position.
    before: &'static [Act],
    /// After it, and before the watch goes on.
    between: &'static [Act],
    told: &'static [(Kind, bool)],
}

const CASES: [Case; 10] = [
    Case {
        pool: "came",
        before: &[Act::Define("0")],
        between: &[Act::Reserve, Act::Reserve, Act::Label("1"), Act::Reserve],
        told: &[(Kind::Changed, true), (Kind::Accepted, true)],
    },
    Case {
        pool: "ceased",
        before: &[Act::Define("1")],
        between: &[Act::Reserve, Act::Label("0"), Act::Reserve],
        told: &[(Kind::Changed, false)],
    },
    Case {
        pool: "left-and-came",
        before: &[Act::Define("1")],
        between: &[Act::Reserve, Act::Label("0"), Act::Reserve, Act::Label("1"), Act::Reserve],
        told: &[(Kind::Changed, false), (Kind::Changed, true), (Kind::Accepted, true)],
    },
    Case {
        pool: "came-and-left",
        before: &[Act::Define("0")],
        between: &[Act::Reserve, Act::Label("1"), Act::Reserve, Act::Label("0"), Act::Reserve],
        told: &[(Kind::Changed, true), (Kind::Accepted, true), (Kind::Changed, false)],
    },
    Case {
        pool: "came-twice",
        before: &[Act::Define("0")],
        between: &[Act::Label("1"), Act::Label("0"), Act::Reserve, Act::Label("1")],
        told: &[(Kind::Changed, true), (Kind::Changed, false), (Kind::Changed, true)],
    },
    Case {
        pool: "new",
        before: &[],
        between: &[Act::Define("1"), Act::Reserve],
        told: &[(Kind::Defined, true), (Kind::Accepted, true)],
    },
    Case {
        pool: "stayed",
        before: &[Act::Define("1")],
        between: &[Act::Reserve, Act::Limit, Act::Reserve],
        told: &[(Kind::Accepted, true), (Kind::Changed, true), (Kind::Accepted, true)],
    },
    // From what comes between, it may have been another one.
    Case {
        pool: "same-again",
        before: &[Act::Define("1")],
        between: &[Act::Reserve, Act::Define("1"), Act::Reserve],
        told: &[(Kind::Defined, true), (Kind::Accepted, true)],
    },
    Case {
        pool: "retired",
        before: &[Act::Define("1")],
        between: &[Act::Reserve, Act::Retire],
        told: &[(Kind::Retired, false)],
    },
    Case { pool: "never", before: &[Act::Define("0")], between: &[Act::Reserve, Act::Reserve], told: &[] },
];

fn label(t: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("t".to_owned(), t.to_owned())])
}

/// What a caller sends who waits as long as anybody may.
fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(DEADLINE_MAX_MS));
    request
}

async fn perform(client: &mut CapacityClient<Channel>, pool: &str, act: Act) {
    let id = pool.to_owned();
    match act {
        Act::Define(t) => {
            let request = v1::DefinePoolRequest { labels: label(t), ..definition(pool, 9, &[]) };
            client.define_pool(patient(request)).await.unwrap();
        }
        Act::Label(t) => {
            let request = v1::ChangePoolRequest { pool: id, labels: label(t), ..Default::default() };
            client.change_pool(patient(request)).await.unwrap();
        }
        Act::Limit => {
            let limits = BTreeMap::from([("orders".to_owned(), 8)]);
            let request = v1::ChangePoolRequest { pool: id, limits, ..Default::default() };
            client.change_pool(patient(request)).await.unwrap();
        }
        Act::Reserve => {
            client.reserve(patient(one(pool))).await.unwrap();
        }
        Act::Retire => {
            let request = v1::RetirePoolRequest { pool: id, with_reservations: true, ..Default::default() };
            client.retire_pool(patient(request)).await.unwrap();
        }
    }
}

/// Makes events of this pool of more bytes than a watch reads at once.
async fn fill_a_page(client: &mut CapacityClient<Channel>, pool: &str) {
    let names: Vec<_> = (0..240).map(|n| format!("{n:064}")).collect();
    let areas: Vec<_> = names.iter().map(String::as_str).collect();
    for _ in 0..5 {
        client.define_pool(patient(definition(pool, 1, &areas))).await.unwrap();
    }
}

/// What this watch tells of each pool, until it has told of each of these.
async fn told_until(
    client: &mut CapacityClient<Channel>,
    request: v1::WatchPoolsRequest,
    last: &[String],
) -> BTreeMap<String, Vec<(Kind, bool)>> {
    let mut reader = Reader::begin(client, request).await.unwrap();
    let mut told = BTreeMap::<String, Vec<_>>::new();
    while !last.iter().all(|pool| told.contains_key(pool)) {
        for change in reader.changes().await.unwrap() {
            told.entry(change.pool.clone()).or_default().push((change.kind(), change.is_watched));
        }
    }
    told
}

#[test]
fn a_watch_that_goes_on_tells_of_no_pool_what_it_was_not() {
    const PARTITIONS: u32 = 4;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), PARTITIONS, Arc::new(SystemClock::new()));
    let mut client = client(&server);
    let of_each = |nth: usize| -> Vec<String> {
        (0..PARTITIONS).map(|partition| pools_of(partition, PARTITIONS).nth(nth).unwrap().to_string()).collect()
    };
    let (wide, last) = (of_each(0), of_each(1));
    runtime().block_on(async {
        for Case { pool, before, .. } in &CASES {
            for act in *before {
                perform(&mut client, pool, *act).await;
            }
        }
        let first = v1::WatchPoolsRequest { labels: label("1"), ..Default::default() };
        let mut reader = Reader::begin(&mut client, first.clone()).await.unwrap();
        assert_eq!(reader.snapshot().await.len(), 5);
        let position = reader.position.clone();
        drop(reader);

        let rounds = CASES.iter().map(|case| case.between.len()).max().unwrap();
        for round in 0..rounds {
            for Case { pool, between, .. } in &CASES {
                if let Some(act) = between.get(round) {
                    perform(&mut client, pool, *act).await;
                }
            }
            for pool in &wide {
                fill_a_page(&mut client, pool).await;
            }
        }
        for pool in &last {
            perform(&mut client, pool, Act::Define("1")).await;
        }

        let labelled = v1::WatchPoolsRequest { position: position.clone(), ..first };
        let told = told_until(&mut client, labelled, &last).await;
        for Case { pool, told: expected, .. } in &CASES {
            assert_eq!(told.get(*pool).cloned().unwrap_or_default(), *expected, "{pool}");
        }

        // A pool that is named was always the one that is named.
        let pools = last.iter().cloned().chain(["same-again".to_owned()]).collect();
        let named = v1::WatchPoolsRequest { position, pools, ..Default::default() };
        let told = told_until(&mut client, named, &last).await;
        assert_eq!(told["same-again"], [(Kind::Accepted, true), (Kind::Defined, true), (Kind::Accepted, true)]);
    });
}

/// A service with one partition. The test says what is decided, and when this process has it.
struct Desk {
    world: World,
    /// By which the service measures. It stands still.
    clock: Arc<ManualClock>,
    service: Arc<Service>,
    handle: Arc<PartitionHandle>,
    owner: Partition,
    owned: Owned,
    sent: u64,
}

impl Desk {
    fn new() -> Desk {
        Desk::reading(|log, _| log)
    }

    /// The same; watches read the log through this.
    fn reading(through: impl FnOnce(Arc<dyn CommittedTail>, &Arc<PartitionHandle>) -> Arc<dyn CommittedTail>) -> Desk {
        let world = World::new(1);
        let replica = Arc::new(Replica::new(1));
        let (handle, owned) = world.recover_in(&replica, 0);
        let owner = handle.read(|state| Partition::claim(state, 1));
        becomes(&handle, PartitionStatus::Active);
        let sink = Arc::clone(&world.log) as Arc<dyn CommandSink>;
        let tail = through(Arc::clone(&world.log) as Arc<dyn CommittedTail>, &handle);
        let clock = Arc::new(ManualClock::at(NOW));
        let gateway = Arc::new(Gateway::new(7, 250, sink, replica, clock.clone()));
        let service = Arc::new(Service::new(gateway, (world.log.manifest().log_id, tail), 7));
        Desk { world, clock, service, handle, owner, owned, sent: 0 }
    }

    /// Decides these commands at this time, and commits that. This process does not have it yet.
    fn commit(&mut self, bodies: Vec<CommandBody>, now: Micros) -> Staged {
        for body in bodies {
            self.sent += 1;
            let sent = Command { deadline: now.plus_ms(5_000), ..command(self.sent, body) };
            append(&*self.world.log, 0, &wire::command::encode(&sent));
        }
        let mut batch = Vec::new();
        self.owned.poll(&mut batch, Duration::ZERO).unwrap();
        let staged = self.handle.read(|state| self.owner.decide(state, batch, now));
        let refused = staged.decided().iter().find_map(|decided| decided.event.body.rejection());
        assert_eq!(refused, None);
        assert_eq!(self.owned.commit(staged.turn()), CommitOutcome::Ok);
        staged
    }

    /// From now on this process has it.
    fn fold(&self, staged: Staged) {
        self.handle.write(|state| self.owner.conclude(state, staged, CommitOutcome::Ok)).unwrap();
    }

    fn turn(&mut self, bodies: Vec<CommandBody>, now: Micros) {
        let staged = self.commit(bodies, now);
        self.fold(staged);
    }

    /// Where the log ends.
    fn end(&self) -> u64 {
        self.world.log.end(0).unwrap()
    }

    /// Watches the pools whose label `t` is 1 from this event on.
    fn watch(&self, from: u64) -> Steps {
        let labels = BTreeMap::from([(name("t"), name("1"))]);
        let filter = WatchFilter { query: Query { labels, ..Query::default() }, ..WatchFilter::default() };
        runtime().block_on(self.service.watch_pools(filter, Some(BTreeMap::from([(0, from)])))).unwrap()
    }
}

fn defined(pool: &PoolId, t: &str) -> CommandBody {
    let labels = BTreeMap::from([(name("t"), name(t))]);
    let spec = PoolSpec { labels, ..open_pool(orders(9)) };
    CommandBody::DefinePool { pool: pool.clone(), spec, expected_version: None }
}

fn labelled(pool: &PoolId, t: &str) -> CommandBody {
    let labels = BTreeMap::from([(name("t"), Some(name(t)))]);
    let change = PoolChange { labels, ..PoolChange::default() };
    CommandBody::ChangePool { pool: pool.clone(), change, expected_version: None }
}

/// The changes of the next step, and the position after it.
fn step(steps: &mut Steps) -> (Vec<Change>, u64) {
    let step = runtime().block_on(async {
        tokio::time::timeout(PATIENCE, poll_fn(|context| steps.poll_next(context))).await.expect("a step in time")
    });
    let step = step.unwrap().unwrap();
    let Update::Changes(changes) = step.update else { panic!("a snapshot") };
    (changes, step.position[&0])
}

/// So many changes, from as many steps as it takes.
fn next(steps: &mut Steps, count: usize) -> Vec<(String, EventKind, bool)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(step(steps).0.into_iter().map(|change| {
            let body = change.event.body;
            (body.pool_id().unwrap().to_string(), body.kind(), change.is_watched)
        }));
    }
    seen
}

#[test]
fn what_a_pool_is_in_a_new_life_is_not_told_of_the_one_before() {
    let mut desk = Desk::new();
    let p = pool_id("p");
    desk.turn(vec![defined(&p, "0")], NOW);
    let from = desk.end();
    desk.turn(vec![reserve(&p, "a")], NOW);
    let retire = CommandBody::RetirePool { pool: p.clone(), with_reservations: true, expected_version: None };
    desk.turn(vec![retire], NOW);
    desk.turn(vec![defined(&p, "1"), reserve(&p, "b")], NOW.plus_ms(2 * DEDUP_WINDOW_MS));
    let of = |kind, is_watched| ("p".to_owned(), kind, is_watched);
    let expected = [of(EventKind::PoolRetired, false), of(EventKind::PoolDefined, true), of(EventKind::Accepted, true)];
    assert_eq!(next(&mut desk.watch(from), 3), expected);
}

/// A caller comes with the position of a process that was faster. Which pools match there is not what this one has.
#[test]
fn a_watch_goes_on_where_this_process_has_not_come_yet() {
    let mut desk = Desk::new();
    let (p, q) = (pool_id("p"), pool_id("q"));
    desk.turn(vec![defined(&p, "1"), defined(&q, "0")], NOW);
    let ahead = desk.commit(vec![labelled(&p, "0"), labelled(&q, "1")], NOW);
    let mut steps = desk.watch(desk.end());
    let early = runtime().block_on(async {
        let a_while = Duration::from_millis(5 * WATCH_LOOK_MS);
        tokio::time::timeout(a_while, poll_fn(|context| steps.poll_next(context))).await
    });
    assert!(early.is_err(), "{early:?}");
    desk.fold(ahead);
    desk.turn(vec![reserve(&p, "a"), reserve(&q, "b")], NOW);
    assert_eq!(next(&mut steps, 1), [("q".to_owned(), EventKind::Accepted, true)]);
}

/// The story: the pools of an area changed once a day, and a proxy cut its watch off every hour. Each new one read again all that
/// had happened since the last change.
#[test]
fn a_watch_that_has_nothing_to_tell_tells_how_far_it_is() {
    let mut desk = Desk::new();
    let p = pool_id("p");
    desk.turn(vec![defined(&p, "0")], NOW);
    let mut steps = desk.watch(desk.end());
    let mut told = |desk: &Desk| {
        let (changes, position) = step(&mut steps);
        assert_eq!(position, desk.end());
        changes.len()
    };
    // It did so no longer ago than that when it began, and after each step.
    desk.turn(vec![reserve(&p, "a")], NOW);
    desk.turn(vec![labelled(&p, "1")], NOW);
    assert_eq!(told(&desk), 1);
    desk.turn(vec![labelled(&p, "0")], NOW);
    assert_eq!(told(&desk), 1);
    desk.clock.pass_ms(WATCH_QUIET_MS);
    desk.turn(vec![reserve(&p, "b")], NOW);
    assert_eq!(told(&desk), 0);
    desk.turn(vec![reserve(&p, "c")], NOW);
    desk.turn(vec![labelled(&p, "1")], NOW);
    assert_eq!(told(&desk), 1);
}

/// A log that hands over one event at a time.
struct Slow {
    log: Arc<dyn CommittedTail>,
    /// What happens during each read, which begins at this event.
    meanwhile: Box<dyn Fn(u64) + Send + Sync>,
}

impl CommittedTail for Slow {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.log.end(partition)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        (self.meanwhile)(from_seq);
        let events = self.log.read(partition, from_seq, bytes_max)?;
        Ok(events.into_iter().take(1).collect())
    }
}

/// This process has the events before this one, or all.
fn come_to(handle: &PartitionHandle, log: &dyn CommittedTail, next_seq: u64) {
    let state = rebuild(log, 0, log.end(0).unwrap().min(next_seq), &mut |_| {}).unwrap();
    handle.write(|living| *living = state);
}

/// The story: a caller began far behind, of pools that had seldom changed, and broke off. Its watch kept its place, and read
/// the log to its end.
#[test]
fn a_watch_that_has_nothing_to_tell_ends_when_its_caller_leaves() {
    let (reads, shut) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
    let (counted, gate) = (Arc::clone(&reads), Arc::clone(&shut));
    let meanwhile = move |_: u64| {
        counted.fetch_add(1, Relaxed);
        drop(gate.lock());
    };
    let mut desk = Desk::reading(|log, _| Arc::new(Slow { log, meanwhile: Box::new(meanwhile) }));
    let p = pool_id("p");
    desk.turn(vec![defined(&p, "0")], NOW);
    let from = desk.end();
    desk.turn(["a", "b", "c", "d", "e", "f", "g", "h"].map(|key| reserve(&p, key)).into(), NOW);
    let closed = shut.lock();
    let steps = desk.watch(from);
    until("the log is being read", || reads.load(Relaxed) == 1);
    drop(steps);
    drop(closed);
    until("the watch is over", || desk.service.watches() == 0);
    assert_eq!(reads.load(Relaxed), 1);
}

/// The story: where many partitions commit every few milliseconds, each look of a watch found an event that had come during the
/// look before. So it read one or two events at a time, without a rest.
#[test]
fn a_watch_rests_though_events_come_all_the_time() {
    const READS: u32 = 20;
    let mut desk = Desk::reading(|log, handle| {
        let (whole, handle) = (Arc::clone(&log), Arc::clone(handle));
        let meanwhile = move |from: u64| come_to(&handle, &*whole, from + 2);
        Arc::new(Slow { log, meanwhile: Box::new(meanwhile) })
    });
    desk.turn(vec![defined(&pool_id("p"), "0")], NOW);
    let from = desk.end();
    desk.turn((0..READS).map(|n| defined(&pool_id(&format!("p-{n}")), "0")).collect(), NOW);
    come_to(&desk.handle, &*desk.world.log, from + 1);
    let watched = Stopwatch::start();
    let _steps = desk.watch(from);
    until("all events have come", || desk.handle.next_seq() == desk.end());
    // The last event came during the last read but one.
    assert!(watched.elapsed() >= Duration::from_millis(WATCH_LOOK_MS) * (READS - 2), "{:?}", watched.elapsed());
}
