//! The sealed segments, and the indexes of those that were read last.

use super::disk::Named;
use super::error::{Fault, damaged};
use super::scan::{Indexed, Walk, scan};
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
pub(super) struct Recent(Mutex<VecDeque<Arc<Indexed>>>);

impl Recent {
    pub(super) fn keep(&self, indexed: Arc<Indexed>) {
        push(&mut self.0.lock(), indexed);
    }

    pub(super) fn forget(&self, number: u64) {
        self.0.lock().retain(|indexed| indexed.header.number != number);
    }

    /// A sealed segment with its index. Who needs the same one meanwhile waits and finds it.
    pub(super) fn get(&self, dir: &Path, sealed: &Sealed) -> Result<Arc<Indexed>, Fault> {
        let mut recent = self.0.lock();
        if let Some(indexed) = recent.iter().find(|indexed| indexed.header.number == sealed.header.number) {
            return Ok(Arc::clone(indexed));
        }
        let named = Named::open(path_of(dir, sealed.header.number), false).map_err(|error| match error.kind() {
            // It has left the log since the caller looked.
            io::ErrorKind::NotFound => Fault::Gone(format!("segment {} has left the log", sealed.header.number)),
            _ => error.into(),
        })?;
        let indexed = Arc::new(indexed(Arc::new(named), sealed)?);
        push(&mut recent, Arc::clone(&indexed));
        Ok(indexed)
    }
}

/// A sealed segment with its index, made from its frames.
pub(super) fn indexed(named: Arc<dyn ReadAt>, Sealed { header, end }: &Sealed) -> Result<Indexed, Fault> {
    let found = scan(&*named, header, Walk::Sealed { end: *end }, &Opening::default())?;
    if found.end != *end {
        return Err(changed(&*named, u32::try_from(found.end).unwrap_or(u32::MAX)));
    }
    Ok(Indexed { named, header: Arc::clone(header), index: found.index })
}

fn push(recent: &mut VecDeque<Arc<Indexed>>, indexed: Arc<Indexed>) {
    recent.push_back(indexed);
    if recent.len() > INDEXES_KEPT {
        recent.pop_front();
    }
}

pub(super) fn changed(named: &dyn ReadAt, offset: u32) -> Fault {
    damaged(format!("what begins at byte {offset} of {} is not what was written", named.path().display()))
}
