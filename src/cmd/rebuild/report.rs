//! What came of rebuilding a partition: as text for people, or as a line of JSON.

use crate::domain::Digest;
use crate::replica::PartitionState;
use crate::words::counted;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// What is compared of two states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seal {
    pub(super) next_seq: u64,
    pub(super) chain: Digest,
    pub(super) digest: Digest,
}

impl Seal {
    pub(super) fn of(state: &PartitionState) -> Seal {
        let position = state.position();
        Seal { next_seq: position.next_seq, chain: position.chain, digest: state.digest() }
    }
}

/// A new state.
#[derive(Clone)]
pub(super) struct Folded {
    pub(super) partition: u32,
    /// The name of the snapshot that it was begun with, and the same in words; none when the log was read from its first event.
    pub(super) snapshot: Option<(String, String)>,
    /// Snapshots that were passed over before, and why.
    pub(super) passed_over: Vec<String>,
    /// The sequence number of the first event that was read after it.
    pub(super) first: u64,
    /// Bytes of events that were read.
    pub(super) bytes: u64,
    /// How long reading and applying them took.
    pub(super) took: Duration,
    pub(super) seal: Seal,
    pub(super) pools: usize,
    pub(super) live: usize,
}

impl Folded {
    /// The number of events that were read.
    pub(super) fn read(&self) -> u64 {
        self.seal.next_seq.saturating_sub(self.first)
    }
}

/// Another state, or its absence, beside the new one.
pub(super) struct Compared {
    /// What it is the state of.
    pub(super) what: &'static str,
    /// Whether all is well with it; `None` where it could not be compared.
    pub(super) is_fine: Option<bool>,
    /// What came of it, in words.
    pub(super) told: String,
}

/// A process whose state was compared.
#[derive(Clone)]
pub(super) struct Process {
    /// How it is called.
    pub(super) base: String,
    /// The version that it runs.
    pub(super) build: String,
    /// What it does about the partition.
    pub(super) status: String,
}

/// The new state of a partition, and what it was compared with.
pub(super) struct Rebuilt {
    pub(super) folded: Folded,
    /// The process that has the other state, if one has it in memory.
    pub(super) process: Option<Process>,
    pub(super) compared: Vec<Compared>,
}

impl Rebuilt {
    pub(super) fn is_fine(&self) -> bool {
        self.compared.iter().all(|compared| compared.is_fine == Some(true))
    }

    fn verdict(&self) -> &'static str {
        match self.compared.iter().any(|compared| compared.is_fine == Some(false)) {
            true => "different",
            false if self.is_fine() => "same",
            false => "not_compared",
        }
    }

    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let Folded { partition, snapshot, passed_over, seal, pools, live, .. } = &self.folded;
        passed_over.iter().try_for_each(|why| writeln!(out, "partition {partition}: not used: {why}"))?;
        if let Some((_, described)) = snapshot {
            writeln!(out, "partition {partition}: the log has lost its first events; begins with {described}")?;
        }
        let Seal { next_seq, digest, .. } = seal;
        let at = self.process.as_ref().map(|process| format!(", compared with {}", process.base)).unwrap_or_default();
        writeln!(
            out,
            "partition {partition}: {}, {}, {}, digest {digest}{at}",
            counted(*next_seq, "event"),
            counted(*pools as u64, "pool"),
            counted(*live as u64, "live reservation")
        )?;
        self.compared.iter().try_for_each(|Compared { what, told, .. }| writeln!(out, "  {what}: {told}"))?;
        out.flush()
    }

    pub(super) fn json(&self, log_id: u128, out: &mut impl Write) -> io::Result<()> {
        let Folded { partition, snapshot, passed_over, first, bytes, took, seal, pools, live } = &self.folded;
        let compared =
            |Compared { what, is_fine, told }: &Compared| json!({ "what": what, "fine": is_fine, "told": told });
        let process = self.process.as_ref();
        let report = json!({
            "build": env!("CARGO_PKG_VERSION"),
            "server": process.map(|process| &process.base),
            "server_build": process.map(|process| &process.build),
            "server_status": process.map(|process| &process.status),
            "log": format!("{log_id:032x}"),
            "partition": partition,
            "snapshot": snapshot.as_ref().map(|(name, _)| name),
            "passed_over": passed_over,
            "first_seq": first,
            "events_read": self.folded.read(),
            "bytes_read": bytes,
            "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "next_seq": seal.next_seq,
            "chain": seal.chain.to_string(),
            "digest": seal.digest.to_string(),
            "pools": pools,
            "live": live,
            "compared": self.compared.iter().map(compared).collect::<Vec<Value>>(),
            "verdict": self.verdict(),
            "fine": self.is_fine(),
        });
        writeln!(out, "{report}")?;
        out.flush()
    }
}
