//! The sealed segments, and the indexes of those that were read last.

use super::disk::Named;
use super::error::Fault;
use super::scan::{Indexed, Walk, changed, scan};
use super::segment::{ReadAt, SegmentHeader, path_of};
use crate::log::Opening;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Sealed segments whose index is kept in memory, 16 bytes for each of their frames.
const INDEXES_KEPT: usize = 4;

/// A segment that is never written again.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) header: Arc<SegmentHeader>,
    pub(super) end: u64,
}

/// The indexes of the sealed segments that were read last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Locked for moments only: whoever seals a segment adds its index here, and all partitions wait for that.
    kept: Mutex<Kept>,
    /// Locked by whoever makes an index.
    making: Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    indexes: VecDeque<Arc<Indexed>>,
    /// The segments before this one have left the log.
    first: u64,
}

impl Kept {
    fn of(&self, number: u64) -> Option<Arc<Indexed>> {
        self.indexes.iter().find(|indexed| indexed.header.number == number).cloned()
    }

    fn push(&mut self, indexed: Arc<Indexed>) {
        if indexed.header.number >= self.first {
            self.indexes.push_back(indexed);
        }
        if self.indexes.len() > INDEXES_KEPT {
            self.indexes.pop_front();
        }
    }
}

impl Recent {
    pub(super) fn keep(&self, indexed: Arc<Indexed>) {
        self.kept.lock().push(indexed);
    }

    /// Forgets the oldest segment, which leaves the log.
    pub(super) fn forget(&self, number: u64) {
        let mut kept = self.kept.lock();
        kept.first = number.saturating_add(1);
        kept.indexes.retain(|indexed| indexed.header.number != number);
    }

    /// A sealed segment with its index. Who needs the same one meanwhile waits and finds it.
    pub(super) fn get(&self, dir: &Path, sealed: &Sealed) -> Result<Arc<Indexed>, Fault> {
        let found = || self.kept.lock().of(sealed.header.number);
        if let Some(indexed) = found() {
            return Ok(indexed);
        }
        let _making = self.making.lock();
        if let Some(indexed) = found() {
            return Ok(indexed);
        }
        let named = Named::open(path_of(dir, sealed.header.number), false).map_err(|error| match error.kind() {
            // It has left the log since the caller looked.
            io::ErrorKind::NotFound => Fault::Gone(format!("segment {} has left the log", sealed.header.number)),
            _ => error.into(),
        })?;
        let indexed = Arc::new(indexed(Arc::new(named), sealed)?);
        self.keep(Arc::clone(&indexed));
        Ok(indexed)
    }
}

/// A sealed segment with its index, made from its frames.
pub(super) fn indexed(named: Arc<dyn ReadAt>, Sealed { header, end }: &Sealed) -> Result<Indexed, Fault> {
    let found = scan(&*named, header, Walk::Sealed { end: *end }, &Opening::default())?;
    if found.end != *end {
        return Err(changed(&*named, found.end));
    }
    Ok(Indexed { named, header: Arc::clone(header), index: found.index })
}
