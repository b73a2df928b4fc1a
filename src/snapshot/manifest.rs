//! What a snapshot says of itself.

use super::Name;
use crate::domain::{Digest, Micros, hex128};
use crate::store::Mark;
use crate::wire::schema;
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
    /// Why it is not one, in words.
    pub(super) fn decode(name: &Name, bytes: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| format!("its manifest cannot be read: {error}"))?;
        if manifest.format != FORMAT {
            return Err(format!("it has format {}, this version reads {FORMAT}", manifest.format));
        }
        if manifest.check != manifest.hash() {
            return Err("its manifest is damaged: it has another hash than it says".to_owned());
        }
        match manifest.name()? == *name {
            true => Ok(manifest),
            false => Err("its manifest is that of another snapshot".to_owned()),
        }
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
