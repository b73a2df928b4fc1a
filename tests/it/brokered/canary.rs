//! The canary of processes that share a log.

use super::readiness::{PARTITIONS, owns, readyz};
use super::serve::{Serving, Site};
use crate::canary::{is_up, samples};
use crate::rig::Rig;
use crate::wait::until;
use headroom::time::Stopwatch;
use std::fs::File;
use std::io::Write;

fn up(process: &Serving<'_>, partition: u32) -> Option<bool> {
    is_up(&process.url().unwrap(), partition)
}

/// The story: an owner stands still at night. Its partition has another owner soon, and in between every call would have
/// been refused. Nobody calls, and it shows all the same, in the process that goes on.
#[test]
fn an_owner_that_stands_still_shows_in_the_canary_of_another_process_without_calls() {
    let site = Site::new(Rig::shared(), PARTITIONS);
    let mut settings = File::options().append(true).open(site.path("headroom.toml")).unwrap();
    writeln!(settings, "\ncanary = true").unwrap();
    let [process, other] = ["a", "b"].map(|name| site.serve(name));
    let mut owned = Vec::new();
    until("each has its share, and every canary passes", || {
        owned = (0..PARTITIONS).filter(|partition| owns(&other, *partition)).collect();
        owned.len() == 1 && (0..PARTITIONS).all(|p| up(&process, p) == Some(true) && up(&other, p) == Some(true))
    });
    other.pause();
    let paused = Stopwatch::start();
    until("it shows", || up(&process, owned[0]) == Some(false));
    println!("an owner that stands still shows after {:?}", paused.elapsed());
    let calls = samples(&process.url().unwrap(), "headroom_canary_calls_total", owned[0]);
    assert!(calls.iter().any(|(by, count)| !by.contains("outcome=\"ok\"") && *count > 0.0), "{calls:?}");
    until("the partition has another owner", || (0..PARTITIONS).all(|p| up(&process, p) == Some(true)));
    other.resume();
    until("nothing is wrong any more", || readyz(&process).1["status"] == "ok");
}
