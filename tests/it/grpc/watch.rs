//! Watching pools: a snapshot and then every change, once, in the order of its partition, also across watches.

use super::{CapacityClient, client, problem};
use crate::server::{Server, runtime};
use crate::wait::until;
use headroom::api::grpc::v1::{self, pool_changed::Kind, watch_pools_response::Step};
use headroom::domain::EventKind;
use headroom::log::StoredEvent;
use headroom::time::SystemClock;
use headroom::wire;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, IntoRequest, Status, Streaming};

type Places = BTreeMap<u32, u64>;

pub fn definition(pool: &str, orders: u64, areas: &[&str]) -> v1::DefinePoolRequest {
    let limits = BTreeMap::from([("orders".to_owned(), orders)]);
    let areas = areas.iter().map(|area| (*area).to_owned()).collect();
    v1::DefinePoolRequest { pool: pool.to_owned(), limits, areas, ..Default::default() }
}

pub fn one(pool: &str) -> v1::ReserveRequest {
    let demand = BTreeMap::from([("orders".to_owned(), 1)]);
    v1::ReserveRequest { pool: pool.to_owned(), demand, ..Default::default() }
}

/// A watch that is read step by step.
pub struct Reader {
    stream: Streaming<v1::WatchPoolsResponse>,
    pub position: Places,
}

impl Reader {
    pub async fn begin(
        client: &mut CapacityClient<Channel>,
        request: impl IntoRequest<v1::WatchPoolsRequest>,
    ) -> Result<Reader, Status> {
        let request = request.into_request();
        let position = request.get_ref().position.clone();
        Ok(Reader { stream: client.watch_pools(request).await?.into_inner(), position })
    }

    async fn step(&mut self) -> Result<Step, Status> {
        let told = self.stream.message().await?.expect("a watch ends with a status");
        self.position = told.position;
        Ok(told.step.unwrap())
    }

    /// The ids of the pools of the whole snapshot.
    pub async fn snapshot(&mut self) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let Step::Snapshot(v1::PoolSnapshot { pools, is_last }) = self.step().await.unwrap() else { panic!() };
            ids.extend(pools.into_iter().map(|pool| pool.pool));
            assert_eq!(self.position.is_empty(), !is_last);
            if is_last {
                return ids;
            }
        }
    }

    /// The next changes. Steps that only tell the position come when they come.
    pub async fn changes(&mut self) -> Result<Vec<v1::PoolChanged>, Status> {
        loop {
            match self.step().await? {
                Step::Changes(v1::PoolChanges { changes }) if changes.is_empty() => {}
                Step::Changes(v1::PoolChanges { changes }) => return Ok(changes),
                Step::Snapshot(_) => panic!("a snapshot after the first"),
            }
        }
    }

    /// So many changes, from as many steps as it takes.
    pub async fn next(&mut self, count: usize) -> Vec<(String, Kind, bool)> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let changes = self.changes().await.unwrap();
            seen.extend(changes.into_iter().map(|change| (change.pool.clone(), change.kind(), change.is_watched)));
        }
        seen
    }
}

#[test]
fn a_watch_tells_the_pools_and_then_their_changes() {
    let server = Server::alone();
    let mut client = client(&server);
    runtime().block_on(async {
        for pool in ["a", "b"] {
            client.define_pool(definition(pool, 5, &["SG-01"])).await.unwrap();
        }
        let mut all = Reader::begin(&mut client, v1::WatchPoolsRequest::default()).await.unwrap();
        assert_eq!(all.snapshot().await, ["a", "b"]);
        let areas = vec!["SG-01".to_owned()];
        let mut here = Reader::begin(&mut client, v1::WatchPoolsRequest { areas, ..Default::default() }).await.unwrap();
        assert_eq!(here.snapshot().await, ["a", "b"]);
        let pools = vec!["b".to_owned()];
        let mut b = Reader::begin(&mut client, v1::WatchPoolsRequest { pools, ..Default::default() }).await.unwrap();
        assert_eq!(b.snapshot().await, ["b"]);
        let before = all.position.clone();
        let open = || {
            let text = server.client().get("/metrics").body;
            text.lines().find_map(|line| line.strip_prefix("headroom_pool_watches ")).unwrap().to_owned()
        };
        assert_eq!(open(), "3");

        let reserved = client.reserve(one("a")).await.unwrap().into_inner();
        client.define_pool(definition("c", 1, &["SG-02"])).await.unwrap();
        client.define_pool(definition("a", 5, &["SG-02"])).await.unwrap();
        let release = v1::ReleaseRequest { reservation: reserved.reservation, ..Default::default() };
        client.release(release).await.unwrap();
        client.reserve(one("b")).await.unwrap();

        let of = |pool: &str, kind, is_watched| (pool.to_owned(), kind, is_watched);
        let every = [
            of("a", Kind::Accepted, true),
            of("c", Kind::Defined, true),
            of("a", Kind::Defined, true),
            of("a", Kind::Released, true),
            of("b", Kind::Accepted, true),
        ];
        assert_eq!(all.next(5).await, every);
        // The pool that went elsewhere is told of once more.
        let of_area = [of("a", Kind::Accepted, true), of("a", Kind::Defined, false), of("b", Kind::Accepted, true)];
        assert_eq!(here.next(3).await, of_area);
        assert_eq!(b.next(1).await, [of("b", Kind::Accepted, true)]);
        drop((b, here));
        tokio::task::block_in_place(|| until("the watches that nobody reads are over", || open() == "1"));
        // What was told of once is told again to whoever begins before it.
        let again = v1::WatchPoolsRequest { position: before, ..Default::default() };
        let mut again = Reader::begin(&mut client, again).await.unwrap();
        assert_eq!(again.next(5).await, every);

        server.service.leave();
        let ended = all.changes().await.unwrap_err();
        let problem = problem(&ended);
        assert_eq!((ended.code(), &*problem.code, &*problem.reason), (Code::Unavailable, "shed", "closing"));
        assert_eq!(problem.position, all.position);
    });
}

/// The places of those of a partition's events that change a pool.
pub fn changes_among(partition: u32, events: &[StoredEvent]) -> impl Iterator<Item = (u32, u64)> {
    const KINDS: [EventKind; 8] = [
        EventKind::PoolDefined,
        EventKind::PoolChanged,
        EventKind::LimitsAdjusted,
        EventKind::ModeSet,
        EventKind::Accepted,
        EventKind::Amended,
        EventKind::Released,
        EventKind::Expired,
    ];
    let events = events.iter().map(|stored| wire::event::decode(&stored.bytes).unwrap().event);
    events.filter(|event| KINDS.contains(&event.body.kind())).map(move |event| (partition, event.seq))
}

/// Every event of the log that changes a pool.
fn changes_in(server: &Server) -> BTreeSet<(u32, u64)> {
    let mut found = BTreeSet::new();
    for partition in 0..server.service.partition_count() {
        let mut from = 0;
        loop {
            let page = server.service.committed_events(partition, from, 1 << 20).unwrap();
            let Some(last) = page.events.last() else { break };
            from = last.seq + 1;
            found.extend(changes_among(partition, &page.events));
        }
    }
    found
}

/// Callers change pools while a watch is cut off again and again, and each time goes on from its last position.
#[test]
fn a_watch_that_is_cut_off_goes_on_without_loss_or_repetition() {
    const CALLERS: usize = 4;
    const ROUNDS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 4, Arc::new(SystemClock::new()));
    let mut watching = client(&server);
    runtime().block_on(async {
        let mut reader = Reader::begin(&mut watching, v1::WatchPoolsRequest::default()).await.unwrap();
        assert_eq!(reader.snapshot().await, Vec::<String>::new());
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let mut client = client(&server);
                tokio::spawn(async move {
                    let pool = format!("pool-{caller}");
                    client.define_pool(definition(&pool, 1_000, &[])).await.unwrap();
                    for _ in 0..ROUNDS {
                        let reservation = client.reserve(one(&pool)).await.unwrap().into_inner().reservation;
                        let release = v1::ReleaseRequest { reservation, ..Default::default() };
                        client.release(release).await.unwrap();
                    }
                })
            })
            .collect();
        let (mut told, mut last) = (Vec::new(), Places::new());
        while told.len() < CALLERS * (1 + 2 * ROUNDS) {
            for change in reader.changes().await.unwrap() {
                let before = last.insert(change.partition, change.seq);
                assert!(before.is_none_or(|before| before < change.seq), "{change:?} after {before:?}");
                told.push((change.partition, change.seq));
            }
            if told.len() % 3 == 0 {
                let request = v1::WatchPoolsRequest { position: reader.position.clone(), ..Default::default() };
                reader = Reader::begin(&mut watching, request).await.unwrap();
            }
        }
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len());
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), changes_in(&server));
    });
}

/// A reader that takes nothing costs the server a few steps, and is told where to go on.
#[test]
fn a_slow_reader_is_ended_and_goes_on_from_where_it_was() {
    const EDITS: usize = 120;
    let server = Server::alone();
    let mut client = client(&server);
    let endpoint = Endpoint::try_from(format!("http://{}", server.address)).unwrap();
    let narrow = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    runtime().block_on(async {
        let mut watching = CapacityClient::new(narrow.connect().await.unwrap());
        let mut reader = Reader::begin(&mut watching, v1::WatchPoolsRequest::default()).await.unwrap();
        assert_eq!(reader.snapshot().await, Vec::<String>::new());
        let names: Vec<_> = (0..240).map(|n| format!("{n:064}")).collect();
        let areas: Vec<_> = names.iter().map(String::as_str).collect();
        for edit in 0..EDITS {
            client.define_pool(definition(&format!("p-{edit}"), 1, &areas)).await.unwrap();
        }
        let served = &server;
        tokio::task::spawn_blocking({
            let service = Arc::clone(&served.service);
            move || until("the watch is over", || service.watches() == 0)
        })
        .await
        .unwrap();
        let mut told = Vec::new();
        let ended = loop {
            match reader.changes().await {
                Ok(changes) => told.extend(changes.into_iter().map(|change| change.seq)),
                Err(status) => break status,
            }
        };
        let problem = problem(&ended);
        assert_eq!((ended.code(), &*problem.code, problem.retryable), (Code::Unavailable, "slow_reader", true));
        assert!(told.len() < EDITS);
        let request = v1::WatchPoolsRequest { position: problem.position, ..Default::default() };
        let mut reader = Reader::begin(&mut client, request).await.unwrap();
        while told.len() < EDITS {
            told.extend(reader.changes().await.unwrap().into_iter().map(|change| change.seq));
        }
        let every: Vec<_> = changes_in(&server).into_iter().map(|(_, seq)| seq).collect();
        assert_eq!(told, every);
    });
}

#[test]
fn a_position_that_the_log_does_not_have_is_out_of_range() {
    let server = Server::alone();
    let mut client = client(&server);
    for (position, named) in [
        (Places::from([(0, 1_000_000)]), "event 1000000"),
        (Places::from([(1, 0)]), "partition 0"),
        (Places::from([(0, 0), (7, 0)]), "partition 7"),
    ] {
        let request = v1::WatchPoolsRequest { position, ..Default::default() };
        let status = runtime().block_on(client.watch_pools(request)).unwrap_err();
        let problem = problem(&status);
        assert_eq!((status.code(), &*problem.code), (Code::OutOfRange, "position_out_of_range"));
        assert!(problem.detail.contains(named), "{}", problem.detail);
    }
    let pools = vec!["a b".to_owned()];
    let wrong = v1::WatchPoolsRequest { pools, ..Default::default() };
    let status = runtime().block_on(client.watch_pools(wrong)).unwrap_err();
    assert_eq!((status.code(), problem(&status).code), (Code::InvalidArgument, "bad_name".to_owned()));
}
