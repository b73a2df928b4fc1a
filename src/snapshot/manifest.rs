//! What a snapshot says of itself.

use super::Name;
use crate::domain::{Digest, Micros, hex128};
use crate::store::{Mark, StoreError, newer};
use crate::wire::schema;
use crate::wire::snapshot::FORMAT_VERSION;
use serde::{Deserialize, Serialize};

/// Version of the form of a snapshot: of its manifest and of the object with the rows.
const FORMAT: u32 = 1;

/// The manifest of a snapshot, as JSON. It has nothing that differs between two processes that write the same rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the form of the snapshot.
    pub(super) format: u32,
    /// The id of the log.
    pub(super) log: String,
    /// The number of the partition in its log.
    pub(super) partition: u32,
    /// The sequence number after the last event in it.
    pub(super) next_seq: u64,
    /// The input offset after the last one decided.
    pub(super) next_input: u64,
    /// The epoch of its last event.
    pub(super) epoch: u32,
    /// The digest of its last event.
    pub(super) chain: String,
    /// The digest of the state that the rows make.
    pub(super) state: String,
    /// The time of its last event, in microseconds since 1970.
    pub(super) decided_at_us: u64,
    /// Version of the layout of the rows.
    pub(super) rows_format: u32,
    /// Version of the schema of events that the rows may hold.
    pub(super) event_schema: usize,
    /// Version of the schema of the rows.
    pub(super) snapshot_schema: usize,
    /// The length of the object with the rows, in bytes.
    pub(super) bytes: u64,
    /// The hash of that object.
    pub(super) blake3: String,
    /// The hash of this manifest without it.
    check: String,
}

impl Manifest {
    /// The manifest of these rows, which make the state of `mark` with this digest.
    pub(super) fn new(mark: &Mark, state: Digest, object: &[u8]) -> Manifest {
        let Mark { log_id, partition, format_version, next_seq, next_input, chain, epoch, decided_at } = *mark;
        let mut manifest = Manifest {
            format: FORMAT,
            log: format!("{log_id:032x}"),
            partition,
            next_seq,
            next_input,
            epoch,
            chain: chain.to_string(),
            state: state.to_string(),
            decided_at_us: decided_at.0,
            rows_format: format_version,
            event_schema: schema::EVENT.len(),
            snapshot_schema: schema::SNAPSHOT.len(),
            bytes: object.len() as u64,
            blake3: blake3::hash(object).to_hex().to_string(),
            check: String::new(),
        };
        manifest.check = manifest.hash();
        manifest
    }

    /// The name of the snapshot.
    ///
    /// # Errors
    /// The manifest has no hash.
    pub(super) fn name(&self) -> Result<Name, &'static str> {
        let hash = self.blake3.get(..32).and_then(Digest::parse).ok_or("its manifest has no hash of the rows")?;
        Ok(Name { next_seq: self.next_seq, at: Micros(self.decided_at_us), hash })
    }

    fn hash(&self) -> String {
        let bare = Manifest { check: String::new(), ..self.clone() };
        blake3::hash(&bare.encode()).to_hex().to_string()
    }

    /// The manifest as JSON.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Numbers and texts can always be written.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads the manifest of a snapshot of this name.
    ///
    /// # Errors
    /// [`StoreError`]: it is not one, or it is one that a later version has written and this one does not read.
    pub(super) fn decode(name: &Name, bytes: &[u8]) -> Result<Manifest, StoreError> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let unread = |error: serde_json::Error| StoreError::damaged(format!("its manifest cannot be read: {error}"));
        // A later form may lack what this one has.
        let Form { format } = serde_json::from_slice(bytes).map_err(unread)?;
        if let Some(why) = newer("it has format", format as usize, FORMAT as usize) {
            return Err(StoreError::newer(why));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(unread)?;
        if manifest.format != FORMAT {
            return Err(StoreError::damaged(format!("it has format {format}, this version reads {FORMAT}")));
        }
        if manifest.check != manifest.hash() {
            return Err(StoreError::damaged("its manifest is damaged: it has another hash than it says"));
        }
        if manifest.name().map_err(StoreError::damaged)? != *name {
            return Err(StoreError::damaged("its manifest is that of another snapshot"));
        }
        match manifest.newer() {
            None => Ok(manifest),
            Some(why) => Err(StoreError::newer(why)),
        }
    }

    /// What of the rows only a later version reads, in words.
    fn newer(&self) -> Option<String> {
        newer("its rows have layout", self.rows_format as usize, FORMAT_VERSION as usize)
            .or_else(|| newer("its rows have events of schema", self.event_schema, schema::EVENT.len()))
            .or_else(|| newer("its rows have schema", self.snapshot_schema, schema::SNAPSHOT.len()))
    }

    /// The state that the rows make, as a checkpoint names it.
    ///
    /// # Errors
    /// Why the manifest names none, in words.
    pub(super) fn mark(&self) -> Result<Mark, String> {
        let log_id = hex128(&self.log).ok_or("its manifest has no id of a log")?;
        let chain = Digest::parse(&self.chain).ok_or("its manifest has no digest of an event")?;
        let Manifest { partition, rows_format, next_seq, next_input, epoch, decided_at_us, .. } = *self;
        let decided_at = Micros(decided_at_us);
        Ok(Mark { log_id, partition, format_version: rows_format, next_seq, next_input, chain, epoch, decided_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    /// The story: a process of the version before looks at the snapshots of those that were upgraded. An operator deletes what is
    /// called damaged, and these are all that covers the events that have left the log.
    #[test]
    fn a_snapshot_of_a_later_version_is_no_damaged_one() {
        let mark = Mark {
            log_id: 7,
            partition: 0,
            format_version: FORMAT_VERSION,
            next_seq: 9,
            next_input: 8,
            chain: Digest([1; 16]),
            epoch: 1,
            decided_at: Micros(5),
        };
        let sound = Manifest::new(&mark, Digest([2; 16]), b"rows");
        let name = sound.name().unwrap();
        assert_eq!(Manifest::decode(&name, &sound.encode()), Ok(sound.clone()));
        let written = |manifest: Manifest| Manifest { check: manifest.hash(), ..manifest.clone() }.encode();
        let of = || sound.clone();
        let later = [
            (b"{\"format\": 2}".to_vec(), "it has format 2, and this version reads 1: take the version that wrote it"),
            (written(Manifest { rows_format: FORMAT_VERSION + 1, ..of() }), "its rows have layout"),
            (written(Manifest { event_schema: schema::EVENT.len() + 1, ..of() }), "its rows have events of schema"),
            (written(Manifest { snapshot_schema: schema::SNAPSHOT.len() + 1, ..of() }), "its rows have schema"),
        ];
        for (bytes, why) in later {
            let told = Manifest::decode(&name, &bytes).unwrap_err();
            assert_eq!(told.kind, StoreErrorKind::Newer, "{told}");
            assert!(told.detail.contains(why), "{told}");
        }
        let spoilt = Manifest { rows_format: FORMAT_VERSION + 1, ..of() }.encode();
        for bytes in [spoilt, written(Manifest { format: 0, ..of() }), b"{".to_vec()] {
            assert_eq!(Manifest::decode(&name, &bytes).unwrap_err().kind, StoreErrorKind::Damaged);
        }
    }
}
