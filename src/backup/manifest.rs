//! What a backup says of itself.

use super::{BackupError, PIECE_BYTES};
use crate::domain::{Digest, Micros, hex128};
use crate::log::{CommittedTail, known_embedded_level};
use crate::store::Seen;
use crate::wire;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Version of the form of a backup: of its manifest, and of the pieces that it names. Version 1 does not say what a backup
/// needs.
const FORMAT: u32 = 2;

/// The manifest of a backup, as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the form of the backup.
    pub(super) format: u32,
    /// The id of the log.
    pub(super) log: String,
    /// What it takes to restore the backup; in format 1 none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) needs: Option<Needs>,
    /// When the backup began, in microseconds since 1970.
    pub(super) taken_at_us: u64,
    /// Bytes of a piece of a segment.
    pub(super) piece_bytes: u64,
    /// The segments in their order.
    pub(super) segments: Vec<Segment>,
    /// The end of each partition.
    pub(super) ends: Vec<End>,
    /// The hash of this manifest without it.
    check: String,
}

/// What a version has to know that restores a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Needs {
    /// The feature level of the log.
    pub(super) feature_level: u32,
    /// The version that took the backup, which knows that level. Every later form has it in the same place, so that who
    /// cannot read the form can name the version to take.
    pub(super) version: String,
}

/// Why there is no manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    /// It is not what was written.
    Damaged(String),
    /// A later version has written it in another form.
    Newer(String),
}

/// A segment of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Segment {
    /// Its number in the log.
    pub(super) number: u64,
    /// The number of its bytes.
    pub(super) end: u64,
    /// What tells these bytes from those of another history of the log.
    pub(super) seal: String,
    /// The hash of each of its pieces.
    pub(super) pieces: Vec<String>,
}

impl Segment {
    /// Its pieces: where each begins, how many bytes it has, and their hash.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, usize, &str)> {
        ranges(self.end).zip(&self.pieces).map(|(range, hash)| (range.start, length(&range), hash.as_str()))
    }
}

/// The pieces of a segment of so many bytes.
pub(super) fn ranges(end: u64) -> impl Iterator<Item = Range<u64>> {
    let step = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX);
    (0..end).step_by(step).map(move |start| start..start.saturating_add(PIECE_BYTES).min(end))
}

/// The bytes of a piece.
pub(super) fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}

/// The last event of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct End {
    /// The sequence number after it; 0 where there is no event.
    pub(super) next_seq: u64,
    /// The digest of that event.
    pub(super) chain: String,
    /// When it was decided, in microseconds since 1970.
    pub(super) decided_at_us: u64,
}

/// The last event of each partition.
///
/// # Errors
/// [`BackupError`] when one cannot be read.
pub(super) fn ends(log_id: u128, log: &dyn CommittedTail) -> Result<Vec<End>, BackupError> {
    (0..log.partitions()).map(|partition| end(log_id, log, partition)).collect()
}

fn end(log_id: u128, log: &dyn CommittedTail, partition: u32) -> Result<End, BackupError> {
    let next_seq = log.end(partition)?;
    let Some(last) = next_seq.checked_sub(1) else {
        return Ok(End { next_seq, chain: Digest::default().to_string(), decided_at_us: 0 });
    };
    let events = log.read(partition, last, 1)?;
    match events.first().map(|event| wire::event::decode(&event.bytes)) {
        Some(Ok(event)) => {
            let Seen { chain, decided_at, .. } = Seen::of(log_id, &event);
            Ok(End { next_seq, chain: chain.to_string(), decided_at_us: decided_at.0 })
        }
        Some(Err(error)) => {
            Err(BackupError::Damaged(format!("event {last} of partition {partition} cannot be read: {error}")))
        }
        None => Err(BackupError::Damaged(format!("event {last} of partition {partition} is missing"))),
    }
}

impl Manifest {
    /// The manifest of a backup of a log with this id and this feature level.
    pub(super) fn new(
        (log_id, feature_level): (u128, u32),
        taken_at: Micros,
        segments: Vec<Segment>,
        ends: Vec<End>,
    ) -> Manifest {
        let (log, check) = (format!("{log_id:032x}"), String::new());
        let (taken_at_us, piece_bytes) = (taken_at.0, PIECE_BYTES);
        let needs = Some(Needs { feature_level, version: env!("CARGO_PKG_VERSION").to_owned() });
        let mut manifest = Manifest { format: FORMAT, log, needs, taken_at_us, piece_bytes, segments, ends, check };
        manifest.check = manifest.hash();
        manifest
    }

    /// A hash of all that it says.
    pub(super) fn hash(&self) -> String {
        let bare = Manifest { check: String::new(), ..self.clone() };
        blake3::hash(&bare.encode()).to_hex().to_string()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Numbers and texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, Unread> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
            #[serde(default)]
            needs: serde_json::Value,
        }
        let unread = |error: serde_json::Error| Unread::Damaged(format!("its manifest cannot be read: {error}"));
        let damaged = |why: &str| Err(Unread::Damaged(why.to_owned()));
        let Form { format, needs } = serde_json::from_slice(bytes).map_err(unread)?;
        if format > FORMAT {
            let version =
                needs["version"].as_str().map_or("the version that took it".to_owned(), |is| format!("version {is}"));
            return Err(Unread::Newer(format!(
                "it has format {format}, and this version reads {FORMAT}: take {version} or a later one"
            )));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(unread)?;
        if manifest.check != manifest.hash() {
            return damaged("its manifest is damaged: it has another hash than it says");
        }
        let is_whole = |segment: &Segment| segment.pieces.len() == ranges(segment.end).count();
        match manifest.piece_bytes == PIECE_BYTES && manifest.segments.iter().all(is_whole) {
            true => Ok(manifest),
            false => damaged("its manifest does not name every piece"),
        }
    }

    /// Why this version cannot restore it, where its log has a feature level that this version does not know.
    pub(super) fn newer(&self) -> Option<String> {
        let known = known_embedded_level();
        let Needs { feature_level, version } = self.needs.as_ref().filter(|needs| needs.feature_level > known)?;
        Some(format!(
            "its log has feature level {feature_level}, and this version knows {known}: take version {version} or a later one"
        ))
    }

    /// The id of the log.
    pub(super) fn log_id(&self) -> Result<u128, String> {
        hex128(&self.log).ok_or_else(|| "its manifest has no id of a log".to_owned())
    }

    /// How far each partition is, as the witness notes it; without those that have no event.
    pub(super) fn seen(&self) -> Result<Vec<(u32, Seen)>, String> {
        let log_id = self.log_id()?;
        let of = |(partition, End { next_seq, chain, decided_at_us }): (u32, &End)| {
            let seen = |chain| Seen { log_id, next_seq: *next_seq, chain, decided_at: Micros(*decided_at_us) };
            let chain = Digest::parse(chain).ok_or_else(|| "its manifest has no digest of an event".to_owned());
            chain.map(|chain| (partition, seen(chain)))
        };
        (0..).zip(&self.ends).filter(|(_, end)| end.next_seq > 0).map(of).collect()
    }

    /// How many events it has.
    pub(super) fn events(&self) -> u64 {
        self.ends.iter().map(|end| end.next_seq).fold(0, u64::saturating_add)
    }

    /// How many bytes its pieces have.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let hash = |byte: u8| blake3::hash(&[byte]).to_hex().to_string();
        let segment = |number, end, pieces: &[u8]| {
            let pieces = pieces.iter().copied().map(hash).collect();
            Segment { number, end, seal: hash(9), pieces }
        };
        let end = End { next_seq: 3, chain: Digest([7; 16]).to_string(), decided_at_us: 5 };
        let none = End { next_seq: 0, chain: Digest::default().to_string(), decided_at_us: 0 };
        let segments = vec![segment(0, 2 * PIECE_BYTES, &[1, 2]), segment(1, PIECE_BYTES + 1, &[3, 4])];
        Manifest::new((8, known_embedded_level()), Micros(1_700_000_000_000_000), segments, vec![end, none])
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_no_byte_of_it_may_change() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Manifest::decode(&changed).is_err(), "byte {at}");
        }
        assert_eq!((manifest().events(), manifest().bytes()), (3, 3 * PIECE_BYTES + 1));
        assert_eq!(manifest().seen().unwrap().len(), 1, "a partition without an event was never seen");
    }

    /// A version that reads neither the form nor the log says which one does.
    #[test]
    fn what_a_later_version_has_taken_names_that_version() {
        let text = String::from_utf8(manifest().encode()).unwrap();
        let own = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
        let later = text.replacen("\"format\":2", "\"format\":3", 1).replacen(&own, "\"version\":\"7.1.0\"", 1);
        let why = |version| {
            let why = format!("it has format 3, and this version reads 2: take {version} or a later one");
            Err(Unread::Newer(why))
        };
        assert_eq!(Manifest::decode(later.as_bytes()), why("version 7.1.0"));
        assert_eq!(Manifest::decode(br#"{"format":3}"#), why("the version that took it"));
        assert_eq!(manifest().newer(), None);
        let needs = Some(Needs { feature_level: known_embedded_level() + 1, version: "7.1.0".to_owned() });
        let why = Manifest { needs, ..manifest() }.newer().unwrap();
        assert!(why.contains(&format!("feature level {}, and", known_embedded_level() + 1)), "{why}");
        assert!(why.ends_with(": take version 7.1.0 or a later one"), "{why}");
        assert_eq!(Manifest { needs: None, ..manifest() }.newer(), None, "of format 1");
    }

    #[test]
    fn a_segment_is_cut_into_pieces_without_a_gap() {
        let manifest = manifest();
        let pieces: Vec<_> = manifest.segments[1].pieces().map(|(start, length, _)| (start, length)).collect();
        assert_eq!(pieces, [(0, 4 << 20), (PIECE_BYTES, 1)]);
    }
}
