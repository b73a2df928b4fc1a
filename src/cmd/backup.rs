//! `headroom backup` and `headroom restore`: copies of an embedded log in a folder or a bucket, and the way back.

use super::shared::flags::{DataDir, Flags};
use super::shared::source::cannot_open;
use super::{Failure, Verdict};
use crate::backup::{self, BackupError, Place, Restored, Taken};
use crate::config::{Config, ObjectPlace, object_place};
use crate::log::embedded::LogPrefix;
use crate::objects::Bucket;
use crate::time::{Clock, SystemClock};
use std::io::Write;

/// What is backed up, and where.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    pub(super) flags: Flags<DataDir>,
    /// Place of the backups, which is there already: file:///FOLDER or s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL", value_parser = object_place)]
    to: ObjectPlace,
}

/// What is restored, and from where.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    pub(super) flags: Flags<DataDir>,
    /// Place of the backups: file:///FOLDER or s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL", value_parser = object_place)]
    from: ObjectPlace,
    /// Backup to restore; without this the newest one
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// List the backups of the place, the newest first, and restore nothing
    #[arg(long, conflicts_with = "backup")]
    list: bool,
}

impl BackupArgs {
    /// What an operator does by it, and what it is about.
    pub(super) fn act(&self) -> (&'static str, String) {
        ("backup", format!("to {}", self.to))
    }
}

impl RestoreArgs {
    /// What an operator does by it, and what it is about; `None` when it only reads.
    pub(super) fn act(&self) -> Option<(&'static str, String)> {
        let which = self.backup.as_deref().unwrap_or("the newest backup");
        (!self.list).then(|| ("restore", format!("{which} from {}", self.from)))
    }
}

pub(super) fn back_up(config: &Config, args: &BackupArgs, out: &mut impl Write) -> Result<Verdict, Failure> {
    is_embedded(config)?;
    let place = Place::new(Bucket::open(&args.to).map_err(|error| Failure::Unusable(error.detail))?);
    let wall = SystemClock::new().wall();
    let log = LogPrefix::open(&config.data_dir).map_err(|error| cannot_open(&error))?;
    let Taken { backup, events, bytes, copied: (pieces, new) } = backup::take(&log, &place, wall)?;
    let partitions = log.manifest().partitions;
    writeln!(out, "backup {} of {events} events in {partitions} partitions is written to {}", backup.id, args.to)?;
    writeln!(out, "{bytes} bytes, of which {new} were new, in {pieces} objects")?;
    Ok(Verdict::Fine)
}

pub(super) fn restore(config: &Config, args: &RestoreArgs, out: &mut impl Write) -> Result<Verdict, Failure> {
    let place = Place::new(Bucket::open(&args.from).map_err(|error| Failure::Unusable(error.detail))?);
    if args.list {
        let backups = place.backups()?;
        backups.iter().try_for_each(|backup| writeln!(out, "{}", backup.id))?;
        return Ok(Verdict::Fine);
    }
    is_embedded(config)?;
    let backup = place.choose(args.backup.as_deref())?;
    let Restored { log_id, events, read } = backup::restore(&place, &backup, &config.data_dir)?;
    let dir = config.data_dir.display();
    writeln!(
        out,
        "backup {} of log {log_id:032x} is restored into {dir}: {events} events, {read} bytes read",
        backup.id
    )?;
    writeln!(
        out,
        "what was decided after {} is not in it, yes and no; let no server go on with the log that it was taken from",
        backup.taken_at
    )?;
    Ok(Verdict::Fine)
}

fn is_embedded(config: &Config) -> Result<(), Failure> {
    let why =
        "the log of these settings is on a Kafka cluster, which keeps copies itself: backups are of the embedded log";
    if config.kafka.is_none() { Ok(()) } else { Err(Failure::Unusable(why.to_owned())) }
}

impl From<BackupError> for Failure {
    /// A damaged log or backup is a result of the command.
    fn from(error: BackupError) -> Failure {
        match error {
            BackupError::Log(error) => cannot_open(&error),
            BackupError::Damaged(why) => Failure::Wrong(why),
            BackupError::Unusable(why) => Failure::Unusable(why),
        }
    }
}
