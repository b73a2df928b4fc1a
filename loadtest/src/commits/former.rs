//! The log as it was in form 1: a redb file, in which turns that meet become durable in one transaction. It is laid out so that
//! the embedded log carries it over; whoever wants to read it back opens it as one.

use super::grouped::{Base, Kind, Ticket, head, sealed};
use headroom::domain::Micros;
use headroom::domain::route::HASH_VERSION;
use headroom::limits::{DEDUP_WINDOW_MS, MEMORY_VERSION};
use redb::{Database, TableDefinition};
use std::path::Path;

/// The name of the file in its data directory.
const FILE_NAME: &str = "log.redb";
/// Memory for pages of the file, as it was.
const CACHE_BYTES: usize = 16 << 20;

type Rows = TableDefinition<'static, (u32, u64), &'static [u8]>;
const MANIFEST: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("manifest");
const HEADS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("heads");
const EVENTS: Rows = TableDefinition::new("events");
const COMMANDS: Rows = TableDefinition::new("commands");

/// The open file.
pub struct Former(Database);

impl Former {
    /// Makes an empty log in this directory.
    ///
    /// # Errors
    /// The error of redb.
    pub fn create(dir: &Path, partitions: u32, log_id: u128) -> Result<Former, String> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join(FILE_NAME));
        let former = Former(db.map_err(told)?);
        former.begin(partitions, log_id).map_err(told)?;
        Ok(former)
    }

    fn begin(&self, partitions: u32, log_id: u128) -> Result<(), redb::Error> {
        let txn = self.0.begin_write()?;
        txn.open_table(MANIFEST)?.insert("", manifest(partitions, log_id).as_slice())?;
        txn.open_table(EVENTS)?;
        txn.open_table(COMMANDS)?;
        let heads = (0..partitions).map(|partition| (partition, head(partition, 0, 0)));
        heads.into_iter().try_for_each(|(partition, head)| {
            txn.open_table(HEADS)?.insert(partition, head.as_slice())?;
            Ok::<_, redb::Error>(())
        })?;
        Ok(txn.commit()?)
    }

    /// Flushed before the commit returns: that is what redb does unless it is told otherwise.
    fn append(&self, batch: &[Ticket]) -> Result<(), redb::Error> {
        let txn = self.0.begin_write()?;
        {
            let (mut events, mut commands) = (txn.open_table(EVENTS)?, txn.open_table(COMMANDS)?);
            let mut heads = txn.open_table(HEADS)?;
            for Ticket { partition, head, events: its_events, commands: its_commands, .. } in batch {
                for (first, row) in its_events {
                    events.insert((*partition, *first), row.as_slice())?;
                }
                for (first, row) in its_commands {
                    commands.insert((*partition, *first), row.as_slice())?;
                }
                heads.insert(*partition, head.as_slice())?;
            }
        }
        Ok(txn.commit()?)
    }
}

impl Base for Former {
    fn write(&self, batch: &[Ticket]) -> Result<(), String> {
        self.append(batch).map_err(told)
    }

    /// Those of the pages that are in use.
    fn bytes(&self) -> Result<u64, String> {
        let txn = self.0.begin_write().map_err(told)?;
        let stats = txn.stats().map_err(told)?;
        txn.abort().map_err(told)?;
        Ok(stats.allocated_pages() * stats.page_size() as u64)
    }
}

fn told(error: impl Into<redb::Error>) -> String {
    let error: redb::Error = error.into();
    format!("the redb file: {error}")
}

fn manifest(partitions: u32, log_id: u128) -> Vec<u8> {
    let (format_version, Micros(created_at)) = (1_u32, Micros(1));
    let body = [
        &format_version.to_le_bytes()[..],
        &HASH_VERSION.to_le_bytes(),
        &partitions.to_le_bytes(),
        &DEDUP_WINDOW_MS.to_le_bytes(),
        &created_at.to_le_bytes(),
        &log_id.to_le_bytes(),
        &MEMORY_VERSION.to_le_bytes(),
    ];
    sealed((Kind::Manifest, 0, 0), &body.concat())
}
