//! Readers that are kept for the next call: to create one and to connect it takes tens of milliseconds.

use super::reader::Reader;
use super::settings::Cluster;
use crate::log::LogError;
use parking_lot::Mutex;
use std::sync::Arc;

/// Most readers that are kept while nobody uses them.
const KEPT_MAX: usize = 4;

/// Readers of committed records that report the end of a partition.
pub(in crate::log::kafka) struct ReaderPool {
    cluster: Arc<Cluster>,
    kept: Mutex<Vec<Reader>>,
}

impl ReaderPool {
    pub(in crate::log::kafka) fn new(cluster: Arc<Cluster>) -> ReaderPool {
        ReaderPool { cluster, kept: Mutex::new(Vec::new()) }
    }

    /// Lends a reader for one call. After an error of `work` the reader is kept all the same: it is assigned again before its next read.
    pub(in crate::log::kafka) fn with<T>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let reader = self.take()?;
        let result = work(&reader);
        self.give_back(reader);
        result
    }

    /// A reader that was kept, or a new one.
    pub(in crate::log::kafka) fn take(&self) -> Result<Reader, LogError> {
        let kept = self.kept.lock().pop();
        kept.map_or_else(|| Reader::ending(&self.cluster), Ok)
    }

    /// Keeps a reader for the next call, or closes it when enough are kept.
    pub(in crate::log::kafka) fn give_back(&self, reader: Reader) {
        reader.release();
        let mut kept = self.kept.lock();
        if kept.len() < KEPT_MAX {
            kept.push(reader);
        }
    }
}
