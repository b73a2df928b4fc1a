//! What an archived segment says of itself.

use crate::log::embedded::{Head, Reach};
use crate::store::newer;
use serde::{Deserialize, Serialize};

/// Version of the form of an archived segment: of its manifest and of the object with its bytes.
const FORMAT: u32 = 1;

/// The manifest of an archived segment, as JSON. It has nothing that differs between two uploads of the same segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the form.
    pub(super) format: u32,
    /// The id of the log.
    pub(super) log: String,
    /// The number of the segment in its log.
    pub(super) segment: u64,
    /// The next event and the next command of each partition before the segment.
    first: Vec<(u64, u64)>,
    /// The same after it.
    end: Vec<(u64, u64)>,
    /// The time of the newest event in it, in microseconds since 1970.
    pub(super) newest_us: u64,
    /// The length of the object with its bytes.
    pub(super) bytes: u64,
    /// The hash of that object.
    pub(super) blake3: String,
    /// The hash of this manifest without it.
    check: String,
}

impl Manifest {
    /// The manifest of a segment with these bytes.
    pub(super) fn new((log_id, segment): (u128, u64), reach: &Reach, newest_us: u64, bytes: &[u8]) -> Manifest {
        let pairs = |heads: &[Head]| heads.iter().map(|head| (head.next_seq, head.next_input)).collect();
        let mut manifest = Manifest {
            format: FORMAT,
            log: format!("{log_id:032x}"),
            segment,
            first: pairs(&reach.first),
            end: pairs(&reach.end),
            newest_us,
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
            check: String::new(),
        };
        manifest.check = manifest.hash();
        manifest
    }

    fn hash(&self) -> String {
        let bare = Manifest { check: String::new(), ..self.clone() };
        blake3::hash(&bare.encode()).to_hex().to_string()
    }

    /// The manifest as JSON.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Numbers and texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Why only a later version reads the manifest, in words; none where this one may read it.
    pub(super) fn newer(bytes: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let format = serde_json::from_slice::<Form>(bytes).ok()?.format;
        newer("it has format", format as usize, FORMAT as usize)
    }

    /// Reads the manifest of this segment.
    ///
    /// # Errors
    /// Why it is not one, in words.
    pub(super) fn decode((log_id, segment): (u128, u64), bytes: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| format!("it cannot be read: {error}"))?;
        if manifest.format != FORMAT {
            return Err(format!("it has format {}, this version reads {FORMAT}", manifest.format));
        }
        if manifest.check != manifest.hash() {
            return Err("it is damaged: it has another hash than it says".to_owned());
        }
        if (&*manifest.log, manifest.segment) != (&*format!("{log_id:032x}"), segment) {
            return Err(format!("it is that of segment {} of log {}", manifest.segment, manifest.log));
        }
        Ok(manifest)
    }

    /// How far the segment reaches.
    pub(super) fn reach(&self) -> Reach {
        let heads = |pairs: &[(u64, u64)]| {
            pairs.iter().map(|(next_seq, next_input)| Head { next_seq: *next_seq, next_input: *next_input }).collect()
        };
        Reach { first: heads(&self.first), end: heads(&self.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const RECORDED: &str = "tests/golden/formats/archive-1/manifest.json";

    /// A new form has a new number, and is recorded beside the one before. `HEADROOM_REWRITE_GOLDEN=1` writes it anew while no
    /// release has it.
    #[test]
    fn a_manifest_has_the_form_that_was_recorded_for_its_number() {
        let heads = |seq| vec![Head { next_seq: seq, next_input: seq + 1 }, Head::default()];
        let (of, reach) = ((0x0123_4567_89ab_cdef, 5), Reach { first: heads(30), end: heads(40) });
        let manifest = Manifest::new(of, &reach, 1_606_000_000_000_000, b"a segment");
        if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
            fs::create_dir_all("tests/golden/formats/archive-1").unwrap();
            fs::write(RECORDED, manifest.encode()).unwrap();
        }
        let recorded = fs::read(RECORDED).unwrap();
        assert_eq!(String::from_utf8_lossy(&manifest.encode()), String::from_utf8_lossy(&recorded));
        assert_eq!(Manifest::decode(of, &recorded), Ok(manifest));
        assert_eq!(Manifest::newer(&recorded), None);
    }

    /// What a later version has put there is neither damaged nor gone, whatever else its form has.
    #[test]
    fn the_form_of_a_later_version_is_known_by_its_number() {
        let why = Manifest::newer(b"{\"format\": 2}").unwrap();
        assert!(why.starts_with("it has format 2, and this version reads 1: take the version that wrote it"), "{why}");
        assert_eq!((Manifest::newer(b"{"), Manifest::newer(b"{\"format\": 1}")), (None, None));
    }
}
