//! A pool of connections that gives each transaction another session. Settings and locks of a sink are in the one that
//! it has had.

use super::messages::{body, greet, listen, send};
use super::postgres::Database;
use crate::process::run;
use headroom::sink::postgres::{Access, Postgres, Sessions};
use headroom::sink::{Batch, Place, Rank, Rare, Target, TargetError, Writer};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A pool in front of a database, which has two sessions for each client.
struct Pool {
    port: u16,
    /// Whether questions go to the other session.
    is_other: Arc<AtomicBool>,
}

impl Pool {
    fn before(database: &Database) -> Pool {
        let (server, is_other) = (database.port(), Arc::<AtomicBool>::default());
        let told = Arc::clone(&is_other);
        let session = move || TcpStream::connect(("127.0.0.1", server));
        Pool { port: listen(move |client| pass(client, [session()?, session()?], &told)), is_other }
    }

    fn url(&self) -> String {
        format!("postgresql://analyst@127.0.0.1:{}/postgres", self.port)
    }
}

/// Passes on what the client asks, to one of the sessions, and what both say.
fn pass(mut client: TcpStream, [mut first, mut second]: [TcpStream; 2], is_other: &AtomicBool) -> io::Result<()> {
    let mut startup = Vec::new();
    greet(&mut client, &mut startup)?;
    first.write_all(&startup)?;
    second.write_all(&startup)?;
    let mut tag = [0];
    // The client has been greeted by the first one.
    while tag != *b"Z" {
        second.read_exact(&mut tag)?;
        body(&mut second)?;
    }
    for server in [&first, &second] {
        let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || io::copy(&mut from, &mut to));
    }
    loop {
        client.read_exact(&mut tag)?;
        let asked = body(&mut client)?;
        let server = if is_other.load(SeqCst) { &mut second } else { &mut first };
        send(server, tag[0], &asked)?;
    }
}

fn open(access: &Access) -> Postgres {
    Postgres::open(access, &Sessions::default(), Writer { process: 1, rest: 0 }).unwrap()
}

/// The story: sinks of two logs reach one database through a pool, each with a schema of its own, and the rows of one
/// come into the tables of the other. Where there is one schema, they said only that another sink has the partition.
#[test]
fn in_the_session_of_another_client_nothing_is_written_and_the_pool_is_named() {
    let database = Database::start();
    database.apply();
    let applied = run(database.sink(Path::new("/nonexistent"), &["apply"]).env("HEADROOM_SINK_SCHEMA", "other"));
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    // As if another client had set it in the session before.
    database.ask("ALTER DATABASE postgres SET search_path TO other");
    let begin = Ok(Some(Place { next_seq: 0, chain: None }));
    let mut others = open(&Access { schema: "other".to_owned(), ..database.access() });
    assert_eq!(others.claim(0, 0), begin);
    drop(others);
    let pool = Pool::before(&database);
    let mut target = open(&Access { url: pool.url(), ..database.access() });
    assert_eq!(target.claim(0, 0), begin);
    pool.is_other.store(true, SeqCst);
    let (rows, aside, rare) = (Vec::new(), Vec::new(), Rare::default());
    let batch =
        Batch { partition: 0, from: 0, until: 1, chain: None, decided_until: None, rows, row_count: 0, rare, aside };
    assert_eq!(target.commit(&batch), Err(TargetError::Fenced));
    let positions = "SELECT partition, next_seq, claim FROM headroom.sink_positions \
                     UNION ALL SELECT partition, next_seq, claim FROM other.sink_positions";
    assert_eq!(database.ask(positions), "0|0|1\n0|0|1");
    for partition in [0, 1] {
        let refused = target.claim(partition, 0);
        let is_named = matches!(&refused, Err(TargetError::Operator(why)) if why.contains("pool_mode = transaction"));
        assert!(is_named, "{refused:?}");
    }
    assert_eq!(database.ask(positions), "0|0|1\n0|0|1");
    pool.is_other.store(false, SeqCst);
    assert_eq!(target.commit(&batch), Ok(()));
}

/// The story: the server of the log is away, and somebody renames the schema meanwhile. The sink is to say so, and not
/// to abort.
#[test]
fn a_schema_that_is_gone_is_no_lock_and_no_panic() {
    let database = Database::start();
    database.apply();
    let mut target = open(&database.access());
    database.ask("ALTER SCHEMA headroom RENAME TO elsewhere");
    assert_eq!(target.rank(&[]), Ok(Rank::ALONE));
    let claimed = target.claim(0, 0);
    assert!(matches!(&claimed, Err(TargetError::Operator(why)) if why.contains("sink_positions")), "{claimed:?}");
}
