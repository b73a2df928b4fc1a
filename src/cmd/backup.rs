//! `headroom backup` and `headroom restore`: copies of an embedded log in a folder or a bucket, and the way back.

use super::shared::flags::{DataDir, Flags};
use super::shared::source::{cannot_open, is_known};
use super::{Failure, Verdict};
use crate::app;
use crate::backup::{self, BackupError, Checked, Held, Place, Restored, Taken};
use crate::config::{Config, ObjectPlace, PLACES, object_place};
use crate::log::embedded::LogPrefix;
use crate::objects::Bucket;
use crate::time::{Clock, Shown, SystemClock};
use crate::words::counted;
use std::io::Write;

/// What is backed up, and where.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    pub(super) flags: Flags<DataDir>,
    #[arg(long, value_name = "URL", value_parser = object_place,
        help = format!("Place of the backups, which is there already: {PLACES}"))]
    to: ObjectPlace,
    /// Read every object of this log that the place has, and write those again that are damaged
    #[arg(long)]
    check: bool,
}

/// What is restored, and from where.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    pub(super) flags: Flags<DataDir>,
    #[arg(long, value_name = "URL", value_parser = object_place, help = format!("Place of the backups: {PLACES}"))]
    from: ObjectPlace,
    /// Backup to restore; without this the newest one
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// List the backups of the place, the newest first, each with its time, events and bytes, and restore nothing
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
    is_known(&config.data_dir)?;
    app::is_elsewhere(&args.to, &config.data_dir, "--to").map_err(Failure::Unusable)?;
    let place = place(&args.to)?;
    let wall = SystemClock::new().wall();
    let log = LogPrefix::open(&config.data_dir).map_err(|error| cannot_open(&error))?;
    // Read after the log: a server that is started meanwhile raises it before it writes anything.
    let level = app::level(&config.data_dir).map_err(|error| Failure::Unusable(error.to_string()))?;
    let taken = backup::take((&log, level), &place, wall, args.check)?;
    let Taken { backup, events, bytes, copied: (pieces, new), checked } = taken;
    let (events, partitions) = (counted(events, "event"), counted(log.manifest().partitions.into(), "partition"));
    writeln!(out, "backup {} of {events} in {partitions} is written to {}", backup.id, args.to)?;
    writeln!(out, "{bytes} bytes, of which {new} were new, in {}", counted(pieces, "object"))?;
    let Some(Checked { read, mended, damaged }) = checked else { return Ok(Verdict::Fine) };
    writeln!(out, "read {} there, {mended} of them damaged and written again", counted(read, "object"))?;
    damaged.iter().try_for_each(|piece| writeln!(out, "damaged, and only in earlier backups: {piece}"))?;
    Ok(Verdict::fine_if(damaged.is_empty()))
}

fn place(place: &ObjectPlace) -> Result<Place, Failure> {
    Ok(Place::new(Box::new(Bucket::open(place).map_err(|error| Failure::Unusable(error.detail))?)))
}

pub(super) fn restore(config: &Config, args: &RestoreArgs, out: &mut impl Write) -> Result<Verdict, Failure> {
    let place = place(&args.from)?;
    if args.list {
        return list(&place, out);
    }
    is_embedded(config)?;
    let backup = place.choose(args.backup.as_deref())?;
    let Restored { log_id, events, read } = backup::restore(&place, &backup, &config.data_dir, |dir| {
        app::raise_level(dir).map_err(|error| error.to_string())
    })?;
    let dir = config.data_dir.display();
    writeln!(
        out,
        "backup {} of log {log_id:032x} is restored into {dir}: {}, {} read",
        backup.id,
        counted(events, "event"),
        counted(read, "byte")
    )?;
    writeln!(
        out,
        "what was decided after {} is not in it, yes and no; let no server go on with the log that it was taken from",
        backup.taken_at
    )?;
    Ok(Verdict::Fine)
}

/// Tells what each backup holds. One that cannot be read is told as that, and is no reason to hide the others. One that was
/// deleted meanwhile is left out.
fn list(place: &Place, out: &mut impl Write) -> Result<Verdict, Failure> {
    let (backups, mut is_fine) = (place.backups()?, true);
    if backups.is_empty() {
        return Err(Failure::Unusable("the place has no backup".to_owned()));
    }
    for backup in backups {
        let id = &backup.id;
        match place.held(&backup) {
            Ok(None) => {}
            Ok(Some(Held { taken_at, events, bytes, newer })) => {
                let newer = newer.map(|why| format!("; {why}")).unwrap_or_default();
                writeln!(out, "{id}  {}  {}  {bytes} bytes{newer}", Shown(taken_at), counted(events, "event"))?;
            }
            Err(error @ (BackupError::Damaged(_) | BackupError::Newer(_))) => {
                is_fine &= matches!(error, BackupError::Newer(_));
                writeln!(out, "{id}  {error}")?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Verdict::fine_if(is_fine))
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
            BackupError::Newer(why) | BackupError::Unusable(why) => Failure::Unusable(why),
        }
    }
}
