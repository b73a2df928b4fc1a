//! A running server is asked to fold a new state of a partition, and to put it in the place of the one in its memory.

use crate::client::internal::{Swap, SwappedState, SwappedStates};
use crate::client::running::RunningServer;
use crate::cmd::Failure;
use crate::cmd::shared::progress::Progress;
use crate::log::LogError;
use crate::time::pause;
use crate::words::counted;
use serde_json::json;
use std::io::{self, Write};
use std::time::Duration;

/// Pause between two questions how far it is.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What came of it.
struct Report<'a> {
    log_id: u128,
    partition: u32,
    server: &'a str,
    build: String,
    swap: Swap,
}

/// Has the state of the partition in this server replaced; returns whether it was that of the log, and was replaced.
pub(super) fn swap(
    log_id: u128,
    server: &RunningServer,
    partition: u32,
    is_json: bool,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let build = server.version()?;
    match &*server.begin_swap(partition).map_err(|error| unknown(server, &error))? {
        "begun" => {}
        "busy" => return Err(unusable(server, "it is replacing a state already: try again when that is done")),
        _ => return Err(unusable(server, "it is ending, or has no thread to spare")),
    }
    let mut progress: Option<Progress> = None;
    let swap = loop {
        let swap = server.swap(partition).map_err(|error| unknown(server, &error))?;
        if swap.end > 0 {
            let progress = progress.get_or_insert_with(|| {
                let mut progress = Progress::new(swap.end);
                progress.begin_at(swap.first);
                progress
            });
            progress.reach(swap.reached);
        }
        match &*swap.result {
            "under_way" => pause(ASK_EVERY),
            "none" => return Err(unknown(server, &LogError::transient("it was started again meanwhile"))),
            _ => break swap,
        }
    };
    progress.iter().for_each(Progress::finish);
    let report = Report { log_id, partition, server: server.base(), build, swap };
    if is_json {
        report.json(out)?
    } else {
        report.text(out)?
    };
    Ok(report.is_fine())
}

fn unusable(server: &RunningServer, why: &str) -> Failure {
    Failure::Unusable(format!("{} does not replace a state now: {why}", server.base()))
}

/// The server may have replaced the state, or not.
fn unknown(server: &RunningServer, error: &LogError) -> Failure {
    Failure::Unknown(format!("{} may have replaced the state or not: {error}; try again", server.base()))
}

impl Report<'_> {
    fn is_fine(&self) -> bool {
        self.swap.swapped.as_ref().is_some_and(|states| states.is_same)
    }

    fn verdict(&self) -> &'static str {
        match &self.swap.swapped {
            Some(states) if states.is_same => "same",
            Some(_) => "different",
            None => "not_compared",
        }
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let Report { partition, server, swap, .. } = self;
        let Swap { passed_over, snapshot, result, first, reached, bytes, took_ms, .. } = swap;
        passed_over.iter().try_for_each(|why| writeln!(out, "partition {partition}: not used: {why}"))?;
        if let Some(name) = snapshot {
            writeln!(out, "partition {partition}: the log has lost its first events; begins with snapshot {name}")?;
        }
        let read = reached.saturating_sub(*first);
        let (read, bytes) = (counted(read, "event"), counted(*bytes, "byte"));
        write!(out, "partition {partition} of {server}: {read} ({bytes}) read in {took_ms} ms")?;
        match &swap.swapped {
            None => writeln!(
                out,
                "\n  live state: NOT REPLACED ({result}): {}",
                swap.why.as_deref().unwrap_or("no reason was given")
            )?,
            Some(SwappedStates { is_owner, is_same, next_seq, living, fresh }) => {
                let by = if *is_owner { "owner" } else { "follower" };
                writeln!(out, ", digest {}; the next event is seq {next_seq}", fresh.digest)?;
                match is_same {
                    true => writeln!(out, "  live state of the {by}: the same; the fresh one has taken its place")?,
                    false => writeln!(
                        out,
                        "  live state of the {by}: DIFFERED: it had digest {} after event {}, the log leads to {} after {}; \
                         the fresh one has taken its place",
                        living.digest, living.chain, fresh.digest, fresh.chain
                    )?,
                }
            }
        }
        out.flush()
    }

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let Report { log_id, partition, server, build, swap } = self;
        let states = swap.swapped.as_ref();
        let seal = |of: &SwappedState| json!({ "chain": of.chain, "digest": of.digest });
        let report = json!({
            "build": env!("CARGO_PKG_VERSION"),
            "server": server,
            "server_build": build,
            "role": states.map(|states| if states.is_owner { "owner" } else { "follower" }),
            "log": format!("{log_id:032x}"),
            "partition": partition,
            "snapshot": swap.snapshot,
            "passed_over": swap.passed_over,
            "first_seq": swap.first,
            "events_read": swap.reached.saturating_sub(swap.first),
            "bytes_read": swap.bytes,
            "ms": swap.took_ms,
            "next_seq": swap.reached,
            "living": states.map(|states| seal(&states.living)),
            "fresh": states.map(|states| seal(&states.fresh)),
            "result": swap.result,
            "why": swap.why,
            "verdict": self.verdict(),
            "fine": self.is_fine(),
        });
        writeln!(out, "{report}")?;
        out.flush()
    }
}
