//! Answers that are lost on their way: the database has committed a batch, and the sink cannot know.

use super::messages::{body, greet, listen, send};
use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::process::Running;
use crate::wait::until;
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// What the database says when it has committed.
const COMMITTED: &[u8] = b"COMMIT\0";

/// A network in front of a database, which fails behind commits.
struct Network {
    port: u16,
    /// So many answers to a commit are still to be lost.
    to_lose: Arc<AtomicUsize>,
}

impl Network {
    fn before(database: &Database) -> Network {
        let (server, to_lose) = (database.port(), Arc::<AtomicUsize>::default());
        let told = Arc::clone(&to_lose);
        Network { port: listen(move |client| pass(client, TcpStream::connect(("127.0.0.1", server))?, &told)), to_lose }
    }

    fn url(&self) -> String {
        format!("postgresql://analyst@127.0.0.1:{}/postgres", self.port)
    }

    /// Loses the answer to the next commit, under these calls.
    #[track_caller]
    fn loses_an_answer(&self, mut call: impl FnMut()) {
        self.to_lose.store(1, SeqCst);
        until("a commit has no answer", || {
            call();
            self.to_lose.load(SeqCst) == 0
        });
    }
}

/// Passes on what both say, until an answer is lost.
fn pass(mut client: TcpStream, mut server: TcpStream, to_lose: &AtomicUsize) -> io::Result<()> {
    greet(&mut client, &mut server)?;
    let (mut asked, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        // When the client has left, the server is to know it.
        let _ = io::copy(&mut asked, &mut to_server);
        to_server.shutdown(Shutdown::Both)
    });
    loop {
        let mut tag = [0];
        server.read_exact(&mut tag)?;
        let said = body(&mut server)?;
        if tag == *b"C" && said == COMMITTED && to_lose.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            return client.shutdown(Shutdown::Both);
        }
        send(&mut client, tag[0], &said)?;
    }
}

/// The story: a batch is committed, and a router in between is restarted. Whoever wrote the batch again would have each of its
/// events twice, and whoever took it for written without asking might lose it.
#[test]
fn a_commit_whose_answer_is_lost_is_neither_repeated_nor_forgotten() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 61);
    let network = Network::before(&database);
    let mut sink = database.sink(log.path(), &["--sink-batch-ms", "100"]);
    let mut sink = Running::start(sink.env("HEADROOM_SINK_DATABASE", network.url()));
    until("something is written", || database.written() > 0);
    for _ in 0..5 {
        network.loses_an_answer(|| traffic.calls(1));
        let before = database.written();
        until("it goes on", || {
            traffic.calls(1);
            database.written() > before + 10
        });
    }
    assert!(!sink.is_over());
    served.running.terminate();
    let ended = sink.terminate();
    assert!(ended.code == 0 && ended.err.contains("the database cannot be reached"), "{}", ended.err);
    assert_rest(&database, log.path());
}
