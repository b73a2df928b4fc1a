//! Converts a state to the rows of its checkpoint, and back.

use super::decided::{Decided, Leaf, LeafNo};
use super::retired::Ending;
use super::slab::{Common, Page, Slab, slots_of};
use super::state::{Dirty, PartitionState, Position, Restored};
use crate::domain::{CommandKey, DedupEntry, Digest, Pool, PoolId, ReservationId};
use crate::store::{Checkpoint, Mark, Row};
use crate::wire::snapshot::{self, FORMAT_VERSION, Piece};
use std::ops::Range;
use std::sync::Arc;

/// What changed since the last checkpoint, by reference: the owner goes on while another thread encodes it.
pub struct Draft {
    mark: Mark,
    base: Option<u64>,
    pools: Vec<(PoolId, Option<Arc<Pool>>)>,
    pages: Vec<(u32, Arc<Page>)>,
    remembered: Vec<(CommandKey, Option<DedupEntry>)>,
    decided: Vec<(LeafNo, Option<Arc<Leaf>>)>,
    retired: Vec<(PoolId, Option<Ending>)>,
    events: u64,
}

impl Draft {
    /// Encodes the changes as rows of the store.
    pub fn encode(&self) -> Checkpoint {
        let row = |(key, value)| Row { key, value: Some(value) };
        let of_pool = |(id, pool): &(PoolId, Option<Arc<Pool>>)| match pool {
            Some(pool) => row(snapshot::pool_row(pool)),
            None => Row { key: snapshot::pool_key(id), value: None },
        };
        let mut rows: Vec<Row> = self.pools.iter().map(of_pool).collect();
        for (no, page) in &self.pages {
            let slots = page.iter().zip(0u8..).filter_map(|(slot, at)| slot.as_ref().map(|(id, r)| (at, id, r)));
            let mut slots = slots.peekable();
            let is_empty = slots.peek().is_none();
            // What was full once takes no place in a checkpoint, nor in the memory of the start that reads it.
            rows.push(match is_empty {
                true => Row { key: snapshot::page_key(*no), value: None },
                false => row(snapshot::page_row(*no, slots)),
            });
        }
        for (key, value) in &self.remembered {
            rows.push(match value {
                Some(remembered) => row(snapshot::remembered_row(key, remembered)),
                None => Row { key: snapshot::remembered_key(key), value: None },
            });
        }
        for (no, leaf) in &self.decided {
            rows.push(match leaf {
                Some(ids) => row(snapshot::decided_row(*no, ids)),
                None => Row { key: snapshot::decided_key(*no), value: None },
            });
        }
        for (pool, ending) in &self.retired {
            rows.push(match ending {
                Some(Ending { seq, until }) => row(snapshot::retired_row(pool, *seq, *until)),
                None => Row { key: snapshot::retired_key(pool), value: None },
            });
        }
        Checkpoint { mark: self.mark, base: self.base, rows }
    }
}

impl PartitionState {
    /// Drafts a checkpoint of everything that changed since the last one.
    pub fn draft_checkpoint(&mut self, log_id: u128) -> Draft {
        let Position { next_seq, next_input, epoch, chain, decided_at } = self.position;
        let next = Dirty { base: Some(next_seq), ..Dirty::default() };
        let Dirty { base, pools, pages, remembered, decided, retired, events } =
            std::mem::replace(&mut self.dirty, next);
        let partition = self.partition;
        let mark =
            Mark { log_id, partition, format_version: FORMAT_VERSION, next_seq, next_input, chain, epoch, decided_at };
        Draft {
            mark,
            base,
            pools: pools.into_iter().map(|id| (id.clone(), self.pools.get(&id).cloned())).collect(),
            pages: pages.into_iter().filter_map(|no| Some((no, Arc::clone(self.slab.page(no)?)))).collect(),
            remembered: remembered.into_iter().map(|key| (key.clone(), self.remembered.get(&key).cloned())).collect(),
            decided: decided.into_iter().map(|no| (no, self.decided.leaf(no).cloned())).collect(),
            retired: retired.into_iter().map(|id| (id.clone(), self.retired.of(&id))).collect(),
            events,
        }
    }

    /// Takes a draft back that was not written: its changes go into the next one.
    pub fn take_back(&mut self, draft: &Draft) {
        self.dirty.base = draft.base;
        self.dirty.pools.extend(draft.pools.iter().map(|(id, _)| id.clone()));
        self.dirty.retired.extend(draft.retired.iter().map(|(id, _)| id.clone()));
        self.dirty.pages.extend(draft.pages.iter().map(|(no, _)| *no));
        self.dirty.remembered.extend(draft.remembered.iter().map(|(key, _)| key.clone()));
        self.dirty.decided.extend(draft.decided.iter().map(|(no, _)| *no));
        self.dirty.events = self.dirty.events.saturating_add(draft.events);
    }

    /// Makes the next checkpoint hold everything: there is none to build on.
    pub fn mark_all_dirty(&mut self) {
        self.dirty.base = None;
        self.dirty.pools.extend(self.pools.iter().map(|pool| pool.id.clone()));
        self.dirty.pages.extend(0..self.slab.page_count());
        self.dirty.remembered.extend(self.remembered.keys().cloned());
        self.dirty.decided.extend(self.decided.leaves());
        self.dirty.retired.extend(self.retired.iter().map(|(id, _)| id.clone()));
        self.dirty.events = self.dirty.events.max(1);
    }
}

/// Takes in the rows of a checkpoint, from which a state is put together. The rows may be divided among several of them,
/// which are joined then.
pub struct Restoring {
    partition: u32,
    log_id: u128,
    pools: Vec<Pool>,
    pages: Vec<(u32, Arc<Page>)>,
    /// The ids in the pages with their slots.
    ids: Vec<(ReservationId, u32)>,
    common: Common,
    remembered: Vec<(CommandKey, DedupEntry)>,
    decided: Vec<(LeafNo, Leaf)>,
    retired: Vec<(PoolId, Ending)>,
    /// Why the rows make no state.
    mismatch: Option<String>,
}

impl Restoring {
    /// Begins with no row, of this partition of this log.
    pub fn new(partition: u32, log_id: u128) -> Restoring {
        Restoring {
            partition,
            log_id,
            pools: Vec::new(),
            pages: Vec::new(),
            ids: Vec::new(),
            common: Common::default(),
            remembered: Vec::new(),
            decided: Vec::new(),
            retired: Vec::new(),
            mismatch: None,
        }
    }

    /// Takes a row, in any order.
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        match snapshot::decode_row_sharing(key, value, &mut self.common) {
            Ok(Piece::Pool(pool)) => self.pools.push(pool),
            Ok(Piece::DedupEntry(key, remembered)) => self.remembered.push((key, remembered)),
            Ok(Piece::Decided(no, ids)) => self.decided.push((no, ids)),
            Ok(Piece::Retired(pool, seq, until)) => self.retired.push((pool, Ending { seq, until })),
            Ok(Piece::Page(no, page)) => match slots_of(no) {
                Some(slots) => self.page((no, slots), page),
                None => self.mismatch = Some(format!("page {no} has too high a number")),
            },
            Err(error) => self.mismatch = Some(error.to_string()),
        }
    }

    /// Takes in a page. One that holds nothing, which older versions wrote as well, is as good as none.
    fn page(&mut self, (no, slots): (u32, Range<u32>), page: Arc<Page>) {
        if page.iter().all(Option::is_none) {
            return;
        }
        self.ids.extend(page.iter().zip(slots).filter_map(|(entry, slot)| Some((entry.as_ref()?.0, slot))));
        self.pages.push((no, page));
    }

    /// Puts the ids of the rows in order. What is in order already takes little time later.
    pub fn sort(&mut self) {
        self.ids.sort_unstable();
    }

    /// Takes in the rows that another one has taken in.
    pub fn join(&mut self, other: Restoring) {
        self.pools.extend(other.pools);
        self.pages.extend(other.pages);
        self.ids.extend(other.ids);
        self.common.join(other.common);
        self.remembered.extend(other.remembered);
        self.decided.extend(other.decided);
        self.retired.extend(other.retired);
        self.mismatch = self.mismatch.take().or(other.mismatch);
    }

    /// The rows put together at this mark. They are not checked against each other yet.
    ///
    /// # Errors
    /// Why the rows make no state, in words.
    pub fn assemble(mut self, mark: &Mark) -> Result<Restored, String> {
        if let Some(mismatch) = self.mismatch {
            return Err(mismatch);
        }
        if mark.format_version != FORMAT_VERSION {
            return Err(format!(
                "the checkpoint has format {}, this version writes {FORMAT_VERSION}",
                mark.format_version
            ));
        }
        if (mark.log_id, mark.partition) != (self.log_id, self.partition) {
            let Mark { log_id, partition, .. } = mark;
            return Err(format!("the checkpoint is of partition {partition} of log {log_id:032x}"));
        }
        let Mark { next_seq, next_input, epoch, chain, decided_at, .. } = *mark;
        let position = Position { next_seq, next_input, epoch, chain, decided_at };
        // Stable, because it makes use of the parts that are in order.
        self.ids.sort();
        let slab = Slab::restore(self.pages, &self.ids)?;
        let decided = Decided::restore(self.decided)?;
        let slab = (slab, self.ids, self.common);
        let decided = (decided, self.retired);
        Ok(Restored::new((self.partition, position), self.pools, slab, self.remembered, decided))
    }

    /// The state at this mark. It has to have the digest `proof`, if there is one.
    ///
    /// # Errors
    /// Why the rows make no state, or not that one, in words.
    pub fn finish(self, mark: &Mark, proof: Option<Digest>) -> Result<PartitionState, String> {
        let restored = self.assemble(mark)?;
        let (proven, derived) = (restored.prove(proof, |no| restored.run(no)), restored.derive());
        restored.complete(proven, derived)
    }
}
