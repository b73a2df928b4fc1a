//! A copy of the log that is taken while the server writes it, as `cp -r` does.

use crate::cli::on;
use crate::process::{Served, agent, headroom};
use crate::store::copy_tree;
use headroom::log::CommittedTail;
use headroom::log::StoredEvent;
use headroom::log::embedded::EmbeddedReader;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

const COPIES: usize = 40;

/// All events of the log in this directory; `None` when it is refused.
fn events(dir: &Path) -> Option<Vec<Vec<StoredEvent>>> {
    let log = EmbeddedReader::open(dir).ok()?;
    let all = |partition| {
        let (mut all, end) = (Vec::new(), log.end(partition).ok()?);
        while (all.len() as u64) < end {
            all.extend(log.read(partition, all.len() as u64, 1 << 20).ok()?);
        }
        Some(all)
    };
    (0..log.partitions()).map(all).collect()
}

/// The story: an operator copies the log of a running server, for a backup or to look at it elsewhere. A copy that
/// opened and held other events, or some with a gap, would pass for the log. It holds the first part of it, or it is
/// refused.
#[test]
fn a_copy_of_a_running_log_holds_its_first_part_or_is_refused() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let serve = || Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()));
    let mut server = serve();
    let is_over = AtomicBool::new(false);
    let copy = |n: usize| copies.path().join(n.to_string());
    thread::scope(|scope| {
        for caller in 0..4 {
            let (url, is_over) = (&server.url, &is_over);
            scope.spawn(move || {
                let agent = agent();
                let send = |path: &str, body: &str| {
                    let request = agent.put(format!("{url}/v1/pools/{path}")).content_type("application/json");
                    request.send(body).unwrap().status()
                };
                for n in 0.. {
                    if is_over.load(Relaxed) {
                        break;
                    }
                    send(&format!("copied-{caller}-{}", n % 50), &format!(r#"{{"limits":{{"orders":{}}}}}"#, n + 1));
                }
            });
        }
        for n in 0..COPIES {
            copy_tree(&dir.path().join("log"), &copy(n).join("log"));
        }
        is_over.store(true, Relaxed);
    });
    server.running.kill();
    let whole = events(dir.path()).unwrap();
    let mut opened = 0;
    for n in 0..COPIES {
        let Some(found) = events(&copy(n)) else { continue };
        assert!(found.iter().zip(&whole).all(|(found, whole)| whole.starts_with(found)), "copy {n}");
        opened += 1;
    }
    // One that opens is a log like any other.
    let verified = (0..COPIES).map(|n| on(&copy(n), ["verify"])).find(|verified| verified.code == 0).unwrap();
    assert!(verified.out.contains("clean: no law broken"), "{}", verified.out);
    println!("{opened} of {COPIES} copies opened");
}
