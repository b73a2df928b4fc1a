//! Several sinks of one log: each partition is written by one of them at a time.

use super::bucket::{COUNTED, share_with_those_that_come_later, shares_of};
use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_rest, serve};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, run};
use crate::wait::until;
use headroom::app::{ADDRESS_FILE, Hold, read_address};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tempfile::TempDir;

/// Three processes share the partitions, one after the other is killed, and the others go on with what it wrote.
#[test]
fn sinks_share_the_partitions_and_take_over_those_of_one_that_dies() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 11);
    let start = || Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    let mut sinks = vec![start(), start(), start()];
    while let Some(mut sink) = sinks.pop() {
        traffic.calls(30);
        sink.kill();
    }
    let last = start();
    let before = database.written();
    traffic.calls(10);
    until("the last one has taken the partitions over", || database.written() > before);
    served.running.terminate();
    last.terminate();
    assert_rest(&database, log.path());
}

#[test]
fn sinks_share_the_partitions_with_those_that_come_later() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 15).beside(|| {
        share_with_those_that_come_later(|| Running::start(&mut database.sink(log.path(), COUNTED)), 4);
    });
    served.running.terminate();
    assert_rest(&database, log.path());
}

/// The story: somebody starts a fourth sink for three partitions, and nothing happens. It says what it waits for.
#[test]
fn a_sink_for_which_no_partition_is_left_says_so() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut sinks: Vec<Running> = (0..4).map(|_| Running::start(&mut database.sink(log.path(), COUNTED))).collect();
    let shares: Vec<_> = sinks.iter_mut().map(shares_of).collect();
    let of = |wanted: [usize; 2]| shares.iter().filter(|share| share() == wanted).count();
    until("three of them have one each", || of([1, 2]) == 3 && of([0, 3]) == 1);
    let spare = shares.iter().position(|share| share() == [0, 3]).unwrap();
    let told = sinks.remove(spare).terminate().err;
    assert!(
        told.contains("other sinks write all partitions: this one waits, and takes over what they leave"),
        "{told}"
    );
    sinks.into_iter().for_each(|sink| assert_eq!(sink.terminate().code, 0));
    served.running.terminate();
}

/// The story: somebody starts a backfill beside a sink. It ends soon, so it does not say that it waits for what the sink leaves.
#[test]
fn a_backfill_beside_a_sink_says_why_it_ends_and_not_that_it_waits() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    Writing::new(9).write(log.path());
    let mut other =
        database.begin("SELECT pg_advisory_lock(hashtext('headroom sink headroom'), 0); SELECT pg_sleep(600)");
    until("the partition is taken", || {
        database.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    });
    let ended = run(&mut database.sink(log.path(), &["backfill"]));
    other.kill();
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(ended.err.contains("another sink writes partition 0: leave the writing to it"), "{}", ended.err);
    assert!(!ended.err.contains("this one waits"), "{}", ended.err);
}

/// The way of one sink to the server, which is cut when the test says so.
struct Way {
    /// What the sink takes for the directory of the server, which has it open.
    dir: TempDir,
    _hold: Hold,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(server: &Path) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let hold = Hold::take(dir.path()).unwrap().unwrap();
        let way = Way { dir, _hold: hold, is_cut: Arc::default(), open: Arc::default() };
        std::fs::copy(server.join("server.token"), way.dir.path().join("server.token")).unwrap();
        let own = format!("{}\n", listener.local_addr().unwrap());
        std::fs::write(way.dir.path().join(ADDRESS_FILE), own).unwrap();
        let address = read_address(server).unwrap().address;
        let (is_cut, open) = (Arc::clone(&way.is_cut), Arc::clone(&way.open));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok).filter(|_| !is_cut.load(SeqCst)) {
                let Ok(server) = TcpStream::connect(address) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    // Whoever leaves ends the connection.
                    std::thread::spawn(move || io::copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Both)));
                }
                let mut open = open.lock();
                open.push(client);
                if is_cut.load(SeqCst) {
                    open.drain(..).for_each(|client| drop(client.shutdown(Shutdown::Both)));
                }
            }
        });
        way
    }

    fn cut(&self) {
        self.is_cut.store(true, SeqCst);
        // One that has ended already is shut down.
        self.open.lock().drain(..).for_each(|client| drop(client.shutdown(Shutdown::Both)));
    }

    fn mend(&self) {
        self.is_cut.store(false, SeqCst);
    }
}

/// The story: a cable is pulled out, and what one of two sinks had is not written for as long as it lives, though the other one could.
#[test]
fn what_one_sink_cannot_read_another_one_writes_until_it_can_again() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let way = Way::to(log.path());
    let mut sinks = [way.dir.path(), log.path()].map(|dir| Running::start(&mut database.sink(dir, COUNTED)));
    let shares = sinks.each_mut().map(shares_of);
    let held = || shares.each_ref().map(|share| share()[0]);
    let is_shared = || held().iter().sum::<usize>() == 3 && held().iter().all(|held| *held > 0);
    until("they share the partitions", is_shared);
    Traffic::new(&served.url, 16).beside(|| {
        way.cut();
        until("the other one has all of them", || held() == [0, 3]);
        way.mend();
        until("they share the partitions again", is_shared);
    });
    served.running.terminate();
    sinks.into_iter().for_each(|sink| assert_eq!(sink.terminate().code, 0));
    assert_rest(&database, log.path());
}

/// A backfill does not fight with a sink that runs.
#[test]
fn a_backfill_is_refused_while_another_sink_writes() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    Traffic::new(&served.url, 12).calls(5);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("the sink has the partitions", || database.ask("SELECT count(*) FROM sink_positions WHERE claim > 0") == "3");
    let refused = run(&mut database.sink(log.path(), &["backfill"]));
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("another sink writes partition"), "{}", refused.err);
    assert_eq!(sink.terminate().code, 0);
}

/// The story: a lock is not the truth. A writer that was cut off from the database for a while may believe that it still has
/// the partition. Its position tells otherwise, and nothing of its batch is written.
#[test]
fn a_writer_whose_position_was_moved_writes_nothing() {
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 13);
    let sink = Running::start(&mut database.sink(log.path(), &["--sink-batch-ms", "100"]));
    until("something is written", || database.written() > 0);
    for _ in 0..5 {
        // Somebody claims all partitions behind its back; the sink has to claim them again.
        database.ask("UPDATE sink_positions SET claim = claim + 1");
        let before = database.written();
        traffic.calls(6);
        until("it has claimed again and goes on", || database.written() > before);
    }
    served.running.terminate();
    assert!(sink.terminate().err.contains("another sink has taken the partition"));
    assert_rest(&database, log.path());
}

/// The story: two sinks fight for the same partitions under load. One after the other stands still in whatever it does and is
/// cut off from the database; the other one takes over all that it had, and has to give it back the same way.
#[test]
fn two_sinks_that_take_over_from_each_other_again_and_again_write_each_event_once() {
    const TAKE_OVERS: usize = 8;
    let (log, database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    database.ask("CREATE ROLE rival SUPERUSER LOGIN");
    let served = serve(log.path());
    let users = ["analyst", "rival"];
    let sinks = users.map(|user| Running::start(&mut database.sink_as(user, log.path(), &["--sink-batch-ms", "100"])));
    let signal = |sink: &Running, signal| kill_process(Pid::from_child(sink.child()), signal).unwrap();
    let has_all = |user: &str| {
        let held = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted AND objid < 3 AND usename = ";
        database.ask(&format!("{held} '{user}'")) == "3"
    };
    Traffic::new(&served.url, 14).beside(|| {
        for turn in 0..TAKE_OVERS {
            let (loser, winner) = (turn % 2, 1 - turn % 2);
            signal(&sinks[loser], Signal::STOP);
            database.ask(&format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE application_name = 'headroom sink' AND usename = '{}'",
                users[loser]
            ));
            until("the other one has all partitions", || has_all(users[winner]));
            let before = database.written();
            until("it writes", || database.written() > before);
            signal(&sinks[loser], Signal::CONT);
        }
    });
    let claims: usize = database.ask("SELECT sum(claim) FROM sink_positions").parse().unwrap();
    assert!(claims >= 3 * (TAKE_OVERS - 1), "{claims} claims");
    served.running.terminate();
    for sink in sinks {
        assert_eq!(sink.terminate().code, 0);
    }
    assert_rest(&database, log.path());
}
