//! The first part of a log, as its files hold it at one moment, for copies of it. A server may be writing the log
//! meanwhile: nothing is locked, nothing is changed, and no thread of the server takes part. Batches are appended, and
//! a byte before the end stays as it is written; only the slots change, and they are left out.

use super::error::{Fault, OpenError};
use super::file;
use super::frame::{Head, Records};
use super::read::{Segment, Span};
use super::segment::path_of;
use super::store::Store;
use super::{of_this_machine, stored_event};
use crate::log::{CommittedTail, LogError, Manifest, Opening, StoredEvent};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A log up to the last batch that was whole when it was looked at.
pub struct LogPrefix {
    store: Store,
    heads: Vec<Head>,
}

/// A segment, as far as it belongs to the first part of a log.
#[derive(Clone, Debug)]
pub struct PrefixSegment {
    segment: Segment,
    /// Segments are numbered from 0.
    pub number: u64,
    /// The number of its bytes.
    pub end: u64,
    /// What tells these bytes from all others that a segment of this log may have: a hash of the header and of the last
    /// frame's header. Two histories of one log differ in it from the first event on that they do not share, because
    /// every event has the digest of the one before, and every owner begins with an event of its own.
    pub seal: [u8; 32],
}

impl LogPrefix {
    /// Looks at the log in `dir`. All that was answered before the call is in it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path) -> Result<LogPrefix, OpenError> {
        Ok(LogPrefix::of(file::prefix(dir, of_this_machine())?))
    }

    pub(super) fn of(store: Store) -> LogPrefix {
        LogPrefix { heads: store.heads(), store }
    }

    /// The manifest of the log.
    pub fn manifest(&self) -> Manifest {
        self.store.manifest
    }

    /// The segments in their order.
    ///
    /// # Errors
    /// [`OpenError`] when a file cannot be read.
    pub fn segments(&self) -> Result<Vec<PrefixSegment>, OpenError> {
        self.store.segments().into_iter().map(|segment| self.sealed(segment)).collect()
    }

    fn sealed(&self, segment: Segment) -> Result<PrefixSegment, OpenError> {
        let Segment { header, end: (end, last_frame) } = &segment;
        let (number, end) = (header.number, *end);
        let mut hash = blake3::Hasher::new();
        hash.update(&header.bytes()).update(&end.to_le_bytes());
        if *last_frame > 0 {
            hash.update(&self.bytes(number, *last_frame, header.form().header())?);
        }
        let seal = *hash.finalize().as_bytes();
        Ok(PrefixSegment { segment, number, end, seal })
    }

    /// Reads every byte of a segment and checks it.
    ///
    /// # Errors
    /// [`OpenError`] when it is not what was written.
    pub fn check(&self, segment: &PrefixSegment) -> Result<(), OpenError> {
        self.store.check_segment(&segment.segment, &Opening::default())
    }

    /// So many bytes of a segment, which ends behind them. The slots are zero.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be read.
    pub fn read(&self, segment: &PrefixSegment, offset: u64, length: usize) -> Result<Vec<u8>, OpenError> {
        let mut bytes = self.bytes(segment.number, offset, length)?;
        segment.segment.header.clear_slots(offset, &mut bytes);
        Ok(bytes)
    }

    fn bytes(&self, number: u64, offset: u64, length: usize) -> Result<Vec<u8>, OpenError> {
        let path = path_of(&self.store.dir, number);
        let mut bytes = vec![0; length];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, offset));
        read.map(|()| bytes).map_err(|error: io::Error| OpenError::io(&path, &error))
    }
}

impl CommittedTail for LogPrefix {
    fn partitions(&self) -> u32 {
        self.store.manifest.partitions
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        let head = self.heads.get(partition as usize);
        head.map(|head| head.next_seq).ok_or_else(|| LogError::no_partition(partition, self.partitions()))
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        let end = self.end(partition)?;
        if from_seq > end {
            return Err(LogError::out_of_range(format!("partition {partition} ends at {end}, before {from_seq}")));
        }
        let span = Span { records: Records::Events, partition, from: from_seq, end, bytes_max };
        let failed = |fault: Fault| fault.error(format_args!("reading {}", self.store.dir.display()));
        self.store.read(span, stored_event).map_err(failed)
    }
}
