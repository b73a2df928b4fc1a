//! What was found in a log, and the verdict on it.

use super::PartitionFindings;
use super::snapshots::SnapshotFindings;

/// The findings in all partitions.
#[derive(Default)]
pub(super) struct VerifyReport {
    pub(super) found: Vec<PartitionFindings>,
    /// What was found of the snapshots of each partition, where a place of them is named.
    pub(super) snapshots: Vec<SnapshotFindings>,
    /// Damage of a file or of the archive, even where the events of the log can still be read.
    pub(super) damage: Option<String>,
    /// What could not be proven, because something was not given.
    pub(super) not_proven: Vec<NotProven>,
}

/// A partition that could not be verified, or whose snapshots could not.
pub(super) struct NotProven {
    pub(super) partition: u32,
    pub(super) why: String,
    /// Whether its events were verified all the same.
    pub(super) is_of_snapshots: bool,
}

/// The verdict on a log: the worst that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    Broken,
    Damaged,
    BadSnapshots,
    NotProven,
    Clean,
}

impl Judgement {
    /// Its name for scripts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Judgement::Broken => "broken",
            Judgement::Damaged => "damaged",
            Judgement::BadSnapshots => "bad_snapshots",
            Judgement::NotProven => "not_proven",
            Judgement::Clean => "clean",
        }
    }

    /// Whether something is wrong. What is not proven may be sound.
    pub(super) fn is_wrong(self) -> bool {
        matches!(self, Judgement::Broken | Judgement::Damaged | Judgement::BadSnapshots)
    }
}

impl VerifyReport {
    pub(super) fn judgement(&self) -> Judgement {
        match self {
            _ if self.breaches() > 0 => Judgement::Broken,
            VerifyReport { damage: Some(_), .. } => Judgement::Damaged,
            _ if self.bad_snapshots() > 0 => Judgement::BadSnapshots,
            VerifyReport { not_proven, .. } if !not_proven.is_empty() => Judgement::NotProven,
            _ => Judgement::Clean,
        }
    }

    /// The number of breaches in all partitions.
    pub(super) fn breaches(&self) -> u64 {
        self.found.iter().map(PartitionFindings::breach_count).fold(0, u64::saturating_add)
    }

    pub(super) fn bad_snapshots(&self) -> u64 {
        self.snapshots.iter().map(|snapshots| snapshots.bad_count).fold(0, u64::saturating_add)
    }

    /// Takes in what was found of a partition's snapshots. That they are not proven is not told of a partition that is not.
    pub(super) fn add_snapshots(&mut self, partition: u32, mut snapshots: SnapshotFindings) {
        let is_told = self.not_proven.iter().any(|told| told.partition == partition);
        let unread = snapshots.unread.take().filter(|_| !is_told);
        self.not_proven.extend(unread.map(|why| NotProven { partition, why, is_of_snapshots: true }));
        self.snapshots.push(snapshots);
    }

    /// Whether there is more to tell than what is not proven.
    pub(super) fn is_told(&self) -> bool {
        self.judgement().is_wrong() || self.not_proven.iter().all(|not_proven| not_proven.is_of_snapshots)
    }

    /// What is not proven, in words: of which partition, why, and which others.
    pub(super) fn not_proven(&self) -> Option<String> {
        let (NotProven { partition, why, .. }, others) = self.not_proven.split_first()?;
        let mut told = format!("not proven: partition {partition}: {why}");
        let mut last = why;
        for other in others {
            told.push_str(&format!("; neither is partition {}", other.partition));
            if other.why != *last {
                told.push_str(&format!(": {}", other.why));
                last = &other.why;
            }
        }
        Some(told)
    }
}
