//! A process that follows the partition from its first event on and never ends. What it keeps in memory is counted to the
//! byte, because one thread does all of it.

use super::figures::counted;
use headroom::log::CommittedTail;
use headroom::owner::recover::fold_stored;
use headroom::replica::PartitionState;

const READ_BYTES: usize = 1 << 20;

pub struct Standby {
    pub state: PartitionState,
    /// Bytes that it has in memory.
    kept: i64,
}

impl Standby {
    pub fn new() -> Standby {
        let (state, begun) = counted(|| PartitionState::new(0));
        Standby { state, kept: begun.kept }
    }

    pub fn kept(&self) -> u64 {
        u64::try_from(self.kept).unwrap()
    }

    /// Folds what is new in the log.
    pub fn follow(&mut self, log: &dyn CommittedTail) {
        loop {
            let events = log.read(0, self.state.position().next_seq, READ_BYTES).unwrap();
            if events.is_empty() {
                return;
            }
            let fold = || events.iter().for_each(|event| drop(fold_stored(&mut self.state, event).unwrap()));
            self.kept += counted(fold).1.kept;
        }
    }

    /// No change waits to be written any more.
    pub fn checkpoint(&mut self, log_id: u128) {
        self.kept += counted(|| drop(self.state.draft_checkpoint(log_id))).1.kept;
    }
}
