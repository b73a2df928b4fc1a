//! The contract over the embedded log: a fresh directory for each case, opened again for a restart.

use super::bounded::{Beheading, bounded_contract};
use super::*;
use crate::process::once_free;
use headroom::domain::Micros;
use headroom::log::embedded::{Embedded, Options};
use tempfile::TempDir;

/// Some turns of these tests are sealed in a segment.
const SEGMENT_BYTES: u64 = 21 << 10;

struct Harnessed {
    log: Arc<Embedded>,
    dir: TempDir,
}

fn open(dir: &TempDir, partitions: u32) -> Arc<Embedded> {
    let options = Options { partitions: Some(partitions), log_id: 7, now: Micros(1) };
    once_free(|| Embedded::open_sealing_at(dir.path(), options, SEGMENT_BYTES)).unwrap()
}

impl Harness for Harnessed {
    type Log = Embedded;
    const MAY_BE_SLOW: bool = false;

    fn fresh(partitions: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Harnessed { log: open(&dir, partitions), dir }
    }

    fn reopened(self) -> Self {
        let Harnessed { log, dir } = self;
        let partitions = log.partitions();
        drop(log);
        Harnessed { log: open(&dir, partitions), dir }
    }

    fn sink(&self) -> Arc<dyn CommandSink> {
        self.log.clone()
    }

    fn log(&self) -> Arc<Embedded> {
        self.log.clone()
    }

    fn tail(&self) -> Arc<dyn CommittedTail> {
        self.log.clone()
    }

    fn close(&self) {
        self.log.close();
    }
}

impl Beheading for Harnessed {
    fn lose_head(&self) {
        let (number, _) = self.log.oldest().unwrap().unwrap();
        self.log.remove_oldest(number).unwrap();
    }
}

contract!(Harnessed);
bounded_contract!(Harnessed);
