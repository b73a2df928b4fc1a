//! Records whose schema a process does not know: what the registry has not said is not decided, what a later version wrote
//! waits for that version, and nobody who cannot read events serves.

use super::answers::{Told, pool, reserve};
use super::readiness::readyz;
use super::serve::Site;
use super::service::Log;
use super::topics::{Place, registry};
use crate::dead_letters::{PARTITIONS, definition};
use crate::fixtures::{command, pool_id, pool_of};
use crate::http::client::Reply;
use crate::rig::Rig;
use crate::server::Server;
use crate::wait::until;
use headroom::config;
use headroom::domain::{ChainedEvent, Command, CommandBody, CommandId, EventBody, EventKind, Micros, Reason};
use headroom::log::dead_letters::DeadLetters;
use headroom::log::kafka::client::settings::group_of;
use headroom::log::kafka::schema::registry::{Registry, Subject, subjects};
use headroom::log::{ClusterLog, CommittedTail, StoredEvent};
use headroom::replica::PartitionStatus;
use headroom::time::SystemClock;
use headroom::wire;
use headroom::wire::frame::{FRAME_BYTES, Fingerprint};
use headroom::wire::schema::{COMMAND, EVENT, REPLY, fingerprint_of};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const NEWER: Fingerprint = [0xAB; 8];

/// The way to the shared registry: it may lead there, be silent, or be closed in one's face.
struct Door {
    url: String,
    is: Arc<AtomicU8>,
}

const OPEN: u8 = 0;
const SILENT: u8 = 1;
const CLOSED: u8 = 2;

impl Door {
    fn new(rig: &Rig) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (host, path) = rig.registry_url().strip_prefix("http://").unwrap().split_once('/').unwrap();
        let url = format!("http://{}/{path}", listener.local_addr().unwrap());
        let (is, host) = (Arc::new(AtomicU8::new(OPEN)), host.to_owned());
        let now = Arc::clone(&is);
        std::thread::spawn(move || {
            // Those who wait behind a silent door hold on to it.
            let mut waiting = Vec::new();
            for caller in listener.incoming().map_while(Result::ok) {
                match now.load(Relaxed) {
                    OPEN => pass(caller, TcpStream::connect(&host).unwrap()),
                    SILENT => waiting.push(caller),
                    _ => drop(caller),
                }
            }
        });
        Door { url, is }
    }

    fn turn(&self, to: u8) {
        self.is.store(to, Relaxed);
    }

    fn registry(&self) -> Registry {
        Registry { url: self.url.clone(), timeout: Duration::from_secs(2), user: None }
    }
}

/// Carries what either says to the other.
fn pass(caller: TcpStream, registry: TcpStream) {
    for (mut from, mut to) in [(caller.try_clone().unwrap(), registry.try_clone().unwrap()), (registry, caller)] {
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count) = from.read(&mut chunk)
                && count > 0
                && to.write_all(&chunk[..count]).is_ok()
            {}
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

/// The log's schemas are known to the registry.
fn register(log: &Log) {
    for subject in subjects(&log.cluster.topics) {
        registry(Rig::shared()).register(&subject).unwrap();
    }
}

/// The id of a schema of ours in words that nobody else uses.
fn reworded(text: &str, from: &str) -> u32 {
    let words = format!("{from}, {:032x}", super::draw());
    let text: &'static str = text.replacen(from, &words, 1).leak();
    let subject = Subject { name: super::prefix(), level: "FULL", versions: vec![text].leak() };
    registry(Rig::shared()).register(&subject).unwrap()[0]
}

fn serve(log: &Log, dir: &Path, door: &Door) -> Server {
    let mut config = log.config(dir, "gateway,owner");
    let of_door = config::Registry { url: door.url.clone(), timeout_ms: 2_000, user: None };
    config.kafka.as_mut().unwrap().registry = Some(of_door);
    let server = Server::of(&config, Arc::new(SystemClock::new()));
    until("the partition is ready", || {
        server.gateway.replica().partition(0).unwrap().status() == PartitionStatus::Active
    });
    server
}

/// What stands on the cluster instead of this record inside.
fn with_id(id: u32, inside: &[u8]) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice(), &inside[FRAME_BYTES..]].concat()
}

/// A record's value and headers.
type Written<'a> = (&'a [u8], &'a [(&'a str, &'a [u8])]);

/// Writes records into partition 0 of a topic, as any client may.
fn write(brokers: &str, topic: &str, records: &[Written<'_>]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for &(bytes, headers) in records {
        let all = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, &(key, value)| all.insert(Header { key, value: Some(value) }));
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(0).payload(bytes).headers(all);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn decided(log: &Log) -> Vec<ChainedEvent> {
    log.events(0).iter().map(|event: &StoredEvent| wire::event::decode(&event.bytes).unwrap()).collect()
}

fn count(log: &Log, kind: EventKind) -> usize {
    decided(log).iter().filter(|recorded| recorded.event.body.kind() == kind).count()
}

/// The Abandon of the reservation that was made last.
fn abandon(log: &Log) -> Command {
    let made = decided(log).into_iter().rev().find(|recorded| matches!(recorded.event.body, EventBody::Accepted(_)));
    let event = made.unwrap().event;
    let EventBody::Accepted(entry) = &event.body else { unreachable!() };
    let body = CommandBody::Abandon { pool: entry.pool.clone(), reservation: entry.reservation };
    let (id, attempt, deadline) = (CommandId(super::draw()), event.command().unwrap().attempt, Micros::MAX);
    Command { id, attempt, deadline, ..command(0, body) }
}

/// What readiness says of the partition.
fn trouble(server: &Server) -> String {
    let ready = server.client().get("/readyz").json();
    ready["partitions"]["0"]["why"].as_str().unwrap_or_default().to_owned()
}

fn hurried(server: &Server, pool: &str, key: &str) -> Reply {
    let headers = [format!("Idempotency-Key: {key}"), "Request-Timeout-Ms: 250".to_owned()];
    let body = format!("{{\"pool\":\"{pool}\",\"demand\":{{\"orders\":1}}}}");
    server.client().send("POST", "/v1/reservations", &headers.each_ref().map(String::as_str), &body)
}

fn used(server: &Server, pool: &str) -> u64 {
    server.client().get(&format!("/v1/pools/{pool}")).json()["used"]["orders"].as_u64().unwrap()
}

#[test]
fn commands_wait_until_a_silent_registry_answers() {
    let (log, door) = (Log::new(1), Door::new(Rig::shared()));
    register(&log);
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&log, dir.path(), &door);
    pool(&server, "van-1", 100);
    pool(&server, "van-2", 100);
    let mut told = Told::default();
    assert!(told.reserve(&server, "van-1", "before"));
    // A hold that runs out, and a reservation that somebody takes back by a schema that nobody here has met.
    let held = "{\"pool\":\"van-2\",\"demand\":{\"orders\":1},\"hold_ttl_ms\":3000}";
    assert_eq!(server.client().post("/v1/reservations", held).status, 201);
    assert_eq!(reserve(&server, "van-2", "taken-back").status, 201);
    let id = reworded(COMMAND.last().unwrap(), "What is asked");
    door.turn(SILENT);
    let taken_back = with_id(id, &wire::command::encode(&abandon(&log)));
    let strangers: Vec<_> = (0..10).map(|n| with_id(2_000_000_000 + n, &taken_back)).collect();
    let records: Vec<Written<'_>> =
        std::iter::once(&taken_back).chain(&strangers).map(|bytes| (bytes.as_slice(), [].as_slice())).collect();
    write(&log.cluster.brokers, &log.cluster.topics.commands, &records);
    let said = format!("waits: {}/0 offset ", log.cluster.topics.commands);
    let why = format!("the registry at {} has not said what its schema {id} is", door.url);
    until("the partition says what it waits for", || {
        let trouble = trouble(&server);
        trouble.starts_with(&said) && trouble.contains(&why)
    });
    // Its owner goes on with what needs nobody's answer, and callers are told no in time.
    until("the hold has expired", || used(&server, "van-2") == 1);
    for (n, way) in [(0, SILENT), (1, CLOSED), (2, CLOSED)] {
        door.turn(way);
        let key = format!("meanwhile-{n}");
        assert!(!told.hear("van-1", &key, &hurried(&server, "van-1", &key)), "it cannot have been decided");
    }
    until("it is known why", || trouble(&server).contains(&format!("{why}: ")));
    let events = decided(&log);
    let is_of_wait =
        |recorded: &&ChainedEvent| matches!(recorded.event.body.kind(), EventKind::Malformed | EventKind::Abandoned);
    assert_eq!(events.iter().find(is_of_wait), None, "nothing after it is decided, and it is not either");
    door.turn(OPEN);
    until("it is decided as what it is", || used(&server, "van-2") == 0);
    until("the strangers' are answered", || count(&log, EventKind::Malformed) == 10);
    until("nothing is waited for", || trouble(&server).is_empty());
    until("callers are served", || told.reserve(&server, "van-1", &format!("after-{}", told.no())));
    log.alike(0, &[&server]);
    told.check(&log, 0);
    // What it has learned it knows when it starts again without.
    door.turn(SILENT);
    drop(server);
    let server = serve(&log, dir.path(), &door);
    assert_eq!(reserve(&server, "van-2", "again").status, 201);
    let taken_back = with_id(id, &wire::command::encode(&abandon(&log)));
    write(&log.cluster.brokers, &log.cluster.topics.commands, &[(&taken_back, &[])]);
    until("it is decided", || used(&server, "van-2") == 0);
    told.check(&log, 0);
}

#[test]
fn commands_of_a_later_version_wait_for_that_version() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let server = log.serve_alone(dir.path());
    pool(&server, "van-1", 100);
    let mut told = Told::default();
    assert!(told.reserve(&server, "van-1", "before"));
    let next_input = log.rebuilt(0).position().next_input;
    let single = [&[0xC3, 0x01], NEWER.as_slice(), b"datum"].concat();
    let named: (&str, &[u8]) = ("schema", &NEWER);
    // The first two are a stranger's, for they do not say what ours would.
    let records: [Written<'_>; 3] =
        [(&single, &[]), (&single, &[("schema", b"headroom.Command")]), (&single, &[named])];
    write(&log.cluster.brokers, &log.cluster.topics.commands, &records);
    until("the partition says what it waits for", || {
        trouble(&server).contains("written under a schema of a newer version, abababababababab")
    });
    until("those before it are answered", || count(&log, EventKind::Malformed) == 2);
    assert!(!told.hear("van-1", "behind", &hurried(&server, "van-1", "behind")));
    // It ends as it should, although it was never done; whoever comes next leaves it alone as well.
    drop(server);
    let server = log.serve_alone(dir.path());
    until("the partition says what it waits for", || trouble(&server).contains("a newer version"));
    drop(server);
    assert_eq!((count(&log, EventKind::Malformed), log.rebuilt(0).position().next_input), (2, next_input + 2));
    told.check(&log, 0);
}

/// The story: the machine of an owner that waits for a later version stood still for some seconds. The group took its partition
/// away, and gave it back. The owner had served on all the time, and from then on nothing said what it waits for.
#[test]
fn an_owner_that_the_group_has_lost_for_a_moment_says_what_it_waits_for() {
    let site = Site::new(Rig::shared(), 1);
    let process = site.serve("a");
    let cluster = site.cluster();
    let datum = [&[0xC3, 0x01], NEWER.as_slice(), b"datum"].concat();
    let named: (&str, &[u8]) = ("schema", &NEWER);
    write(&cluster.brokers, &cluster.topics.commands, &[(&datum, &[named])]);
    let why = || readyz(&process).1["partitions"]["0"]["why"].as_str().unwrap_or_default().to_owned();
    let says = || why().contains("written under a schema of a newer version");
    until("the partition says what it waits for", says);
    let is_given = |line: &&str| line.contains("gives partitions") && line.contains("partitions=[0]");
    let given = || process.logged().lines().filter(is_given).count();
    let before = given();
    process.pause();
    let tool: BaseConsumer = cluster.reader_to_end().create().unwrap();
    let group = group_of(site.log().manifest().log_id);
    until("the group has lost it", || {
        let groups = tool.fetch_group_list(Some(&group), LIMIT).unwrap();
        groups.groups().iter().all(|found| found.members().is_empty())
    });
    process.resume();
    until("the group gives it the partition again", || given() > before);
    until("it still says what it waits for", says);
}

/// The schema header of every record in a topic, with the number of headers before it.
fn schemas(log: &Log, topic: &str) -> Vec<(usize, Vec<u8>)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &log.cluster.brokers).set("group.id", "nobody").set("enable.partition.eof", "true");
    let reader: BaseConsumer = config.create().unwrap();
    let mut found = Vec::new();
    for partition in 0..if topic == log.cluster.topics.replies { 8 } else { 1 } {
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        reader.assign(&from).unwrap();
        until("the partition is read", || match reader.poll(Duration::from_millis(20)) {
            Some(Ok(message)) => {
                let headers = message.headers().expect("every record of ours has some");
                let at = headers.iter().position(|header| header.key == "schema");
                found.extend(at.map(|at| (at, headers.get(at).value.unwrap().to_vec())));
                false
            }
            Some(Err(KafkaError::PartitionEOF(_))) => true,
            _ => false,
        });
    }
    found
}

#[test]
fn every_record_of_ours_says_its_schema_and_is_read_without_a_registry() {
    let (log, door) = (Log::new(1), Door::new(Rig::shared()));
    register(&log);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let owner = serve(&log, dirs[0].path(), &door);
    // A gateway of another process, so that there are replies.
    let mut config = log.config(dirs[1].path(), "gateway");
    let of_door = config::Registry { url: door.url.clone(), timeout_ms: 2_000, user: None };
    config.kafka.as_mut().unwrap().registry = Some(of_door);
    let other = Server::of(&config, Arc::new(SystemClock::new()));
    pool(&other, "van-1", 100);
    let mut told = Told::default();
    assert!(told.reserve(&other, "van-1", "one") && told.reserve(&owner, "van-1", "two"));
    drop((owner, other));
    let topics = &log.cluster.topics;
    let of = |text: &str| fingerprint_of(text).unwrap().to_vec();
    for (topic, before, text) in
        // A command says first of which log it is asked, an event where it lies.
        [(&topics.commands, 1, COMMAND), (&topics.events, 1, EVENT), (&topics.replies, 0, REPLY)]
    {
        let text = text[text.len() - 1];
        let found = schemas(&log, topic);
        assert!(found.len() >= 2, "{topic}: {found:?}");
        assert!(found.iter().all(|found| *found == (before, of(text))), "{topic}: {found:?}");
    }
    // This process has no registry, and reads ids all the same.
    told.check(&log, 0);
    assert_eq!(log.open().end(0), Ok(log.events(0).len() as u64));
}

#[test]
fn a_dead_letter_keeps_what_its_record_says_of_its_schema() {
    let log = Log::new(PARTITIONS);
    let dir = tempfile::tempdir().unwrap();
    let server = log.serve_alone(dir.path());
    // It came to a partition that is not its pool's, under an id that nobody here can ask about.
    let inside = definition(&pool_of(1, PARTITIONS));
    let schema = fingerprint_of(COMMAND.last().unwrap()).unwrap();
    let topic = &log.cluster.topics.commands;
    write(&log.cluster.brokers, topic, &[(&with_id(2_000_000_000, &inside), &[("schema", &schema)])]);
    let kafka = log.open();
    let mut letters = Vec::new();
    until("there is a letter", || {
        letters = kafka.letters(0).unwrap();
        !letters.is_empty()
    });
    assert!(letters[0].said.reason.contains("misrouted"), "{letters:?}");
    let original = kafka.original(letters[0].id()).unwrap();
    assert_eq!(kafka.inside(&original).unwrap(), inside);
    kafka.append_again(1, &original).unwrap();
    // It can be read there, and is too late.
    until("it is decided where it belongs", || {
        let events = kafka.read(1, 0, usize::MAX).unwrap().into_iter();
        let mut bodies = events.map(|event| wire::event::decode(&event.bytes).unwrap().event.body);
        bodies.any(|body| body.rejection().is_some_and(|rejection| rejection.reason == Reason::Expired))
    });
    drop(server);
}

/// An event as owners write them, with a frame and headers of the test's.
fn write_event(place: &Place, bytes: &[u8], schema: Option<&[u8]>) {
    let mut headers: Vec<(&str, &[u8])> = vec![("place", &[0; 24])];
    headers.extend(schema.map(|schema| ("schema", schema)));
    write(&place.cluster().brokers, &place.topic("events"), &[(bytes, &headers)]);
}

#[test]
fn a_process_that_cannot_read_events_does_not_start() {
    let (rig, dir) = (Rig::shared(), tempfile::tempdir().unwrap());
    let (place, door) = (Place::on(rig, "unread"), Door::new(rig));
    place.apply();
    for subject in subjects(&place.cluster().topics) {
        registry(rig).register(&subject).unwrap();
    }
    assert!(place.preflight(Some(&door.registry()), dir.path()).is_ok(), "an empty log asks nothing");
    let datum = [&[0xC3, 0x01], NEWER.as_slice(), b"datum"].concat();
    let id = reworded(EVENT[0], "A decision as recorded");
    let before = format!("the newest event cannot be read: {}/0 offset", place.topic("events"));
    let refused = |registry: Option<&Registry>, why: &str| {
        let told = place.preflight(registry, dir.path()).unwrap_err().0;
        assert!(told.len() == 1 && told[0].starts_with(&before) && told[0].contains(why), "{told:?}");
    };

    write_event(&place, &with_id(id, &datum), None);
    refused(None, &format!(" 0: written under the schema {id} of a registry, and registry_url is not set"));
    door.turn(SILENT);
    refused(Some(&door.registry()), &format!("has not said what its schema {id} is"));
    let served = place.headroom(&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir.path().to_str().unwrap()]);
    assert!(served.code != 0 && served.err.contains("registry_url is not set"), "{}{}", served.out, served.err);
    door.turn(OPEN);
    assert!(place.preflight(Some(&door.registry()), dir.path()).is_ok());

    // What it says of itself does not help those who have no registry: older events may not say it.
    let known = fingerprint_of(EVENT[0]).unwrap();
    write_event(&place, &with_id(2_000_000_000, &datum), Some(&known));
    assert!(place.preflight(Some(&door.registry()), dir.path()).is_ok());
    refused(None, "registry_url is not set");

    write_event(&place, &datum, None);
    refused(None, "written under a schema of a newer version");
    write_event(&place, &with_id(id, &datum), Some(&NEWER));
    refused(Some(&door.registry()), "written under a schema of a newer version");
    write_event(&place, &with_id(2_000_000_001, &datum), None);
    refused(Some(&door.registry()), "has no schema 2000000001 that is known here");
    // Bytes that are no event at all are nobody's to read: that partition stops, and the others are served.
    write_event(&place, b"text", None);
    assert!(place.preflight(None, dir.path()).is_ok());
}

#[test]
fn an_event_of_a_later_version_is_no_broken_chain() {
    let log = Log::new(1);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let owner = log.serve(dirs[0].path(), "gateway,owner", Arc::new(SystemClock::new()));
    let follower = log.serve(dirs[1].path(), "gateway", Arc::new(SystemClock::new()));
    pool(&owner, "van-1", 100);
    drop(owner);
    let next_seq = log.open().end(0).unwrap();
    let next_input = log.rebuilt(0).position().next_input;
    let at = [next_seq, next_input, 0].map(u64::to_be_bytes).concat();
    let event = [&[0xC3, 0x01], NEWER.as_slice(), b"datum"].concat();
    write(&log.cluster.brokers, &log.cluster.topics.events, &[(&event, &[("place", &at)])]);
    let cannot = log.open().read(0, next_seq, usize::MAX).unwrap_err();
    assert!(cannot.detail.contains("written under a schema of a newer version"), "{cannot}");
    let staleness_ms = || follower.client().post("/v1/availability", "{}").json()["staleness_ms"].as_u64();
    until("the follower has met it", || staleness_ms().is_some_and(|ms| ms > 1_000));
    assert_eq!(follower.gateway.replica().partition(0).unwrap().status(), PartitionStatus::Standby);
    let pool = pool_id("van-1");
    assert!(follower.gateway.replica().of_pool(&pool).unwrap().read(|state| state.position().next_seq == next_seq));
}
