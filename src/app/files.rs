//! The files of the process: the limit of open files, the permissions on files of the data directory, and its disk.
//!
//! The limit of open files is raised to what the limits of the service need. Where the system does not allow that,
//! fewer connections are served, and a log line says so at the start.

use super::local::{ADDRESS_FILE, TOKEN_FILE};
use crate::api::http::Bounds;
use crate::limits::{
    HTTP_CONNECTIONS_ENDING_MAX, HTTP_CONNECTIONS_KEPT, HTTP_CONNECTIONS_MAX, HTTP_CONNECTIONS_MIN, PARTITIONS_MAX,
};
use crate::telemetry::Disk;
use rustix::fs::statvfs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{DirEntry, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Open files of the process itself.
const FILES_OF_PROCESS: usize = 256;
/// Open files of each partition: its share of the log, of checkpoints, or of clients of a cluster.
const FILES_OF_PARTITION: usize = 32;

/// The directory of the embedded log.
const LOG_DIR: &str = "log";
/// The files of a data directory that an earlier version may have made readable for everybody. New files are made
/// private.
const OURS: [&str; 7] = [LOG_DIR, "checkpoint", "witness", "registry.ids", "cluster.id", ADDRESS_FILE, TOKEN_FILE];
/// The bits of a file's mode that are about its own user.
const OWN_USER: u32 = 0o700;

/// Removes all permissions of other users on this directory's files.
pub(super) fn close(dir: &Path) {
    for path in OURS.map(|name| dir.join(name)) {
        let Ok(found) = std::fs::metadata(&path) else { continue };
        let mode = found.permissions().mode();
        let own = Permissions::from_mode(mode & OWN_USER);
        if mode & 0o777 != own.mode()
            && let Err(error) = std::fs::set_permissions(&path, own)
        {
            tracing::warn!(%error, path = %path.display(), "other users may read this file: cannot change its mode");
        }
    }
}

/// What the disk of this directory has; `None` when the system does not say it.
pub(super) fn disk(dir: &Path) -> Option<Disk> {
    let seen = statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(seen.f_frsize);
    let log_files = std::fs::read_dir(dir.join(LOG_DIR));
    let length = |file: std::io::Result<DirEntry>| file.and_then(|file| file.metadata()).map_or(0, |file| file.len());
    let log_file_bytes = log_files.ok().map(|files| files.map(length).fold(0, u64::saturating_add));
    Some(Disk { log_file_bytes, avail_bytes: bytes(seen.f_bavail), size_bytes: bytes(seen.f_blocks) })
}

/// Raises the limit, as far as the system allows, to what the highest number of partitions needs.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = needed(PARTITIONS_MAX, HTTP_CONNECTIONS_MAX) as u64;
    let wanted = maximum.map_or(most, |maximum| most.min(maximum));
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, limit = current, "the limit of open files cannot be raised");
    }
}

/// The number of connections that the open files allow, in addition to the files of this many partitions.
pub(super) fn connections(partitions: u32, of_address: Option<usize>) -> Bounds {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    let callers = served(limit.unwrap_or(usize::MAX), partitions);
    if callers < HTTP_CONNECTIONS_MAX {
        let needed = needed(partitions, HTTP_CONNECTIONS_MAX);
        tracing::warn!(
            limit,
            needed,
            connections = callers,
            "the process may open too few files: fewer connections are served; raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
    Bounds { callers, of_address, ..Bounds::default() }
}

/// The number of callers' connections that this limit leaves room for.
fn served(limit: usize, partitions: u32) -> usize {
    limit.saturating_sub(needed(partitions, 0)).clamp(HTTP_CONNECTIONS_MIN, HTTP_CONNECTIONS_MAX)
}

fn needed(partitions: u32, callers: usize) -> usize {
    let own = FILES_OF_PROCESS + FILES_OF_PARTITION * partitions as usize;
    // One more file: a connection is accepted before its limit is checked.
    own + callers + HTTP_CONNECTIONS_KEPT + HTTP_CONNECTIONS_ENDING_MAX + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_process_does_not_need() {
        let needed = needed(4, HTTP_CONNECTIONS_MAX);
        assert_eq!(served(needed, 4), HTTP_CONNECTIONS_MAX);
        assert_eq!(served(usize::MAX, 4), HTTP_CONNECTIONS_MAX);
        assert_eq!(served(needed - 1, 4), HTTP_CONNECTIONS_MAX - 1);
        assert_eq!(served(needed, 5), HTTP_CONNECTIONS_MAX - FILES_OF_PARTITION);
        assert_eq!(served(64, 4), HTTP_CONNECTIONS_MIN);
    }
}
