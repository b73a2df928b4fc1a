//! Files of the process: how many it may have open, and who may read those of its data directory.
//!
//! The limit of open files is raised to what the bounds need; where the system does not let it, fewer connections are
//! served, and that is said at the start and not found out under load.

use super::ADDRESS_FILE;
use crate::api::http::Bounds;
use crate::limits::{
    FILES_OF_PARTITION, FILES_OF_PROCESS, HTTP_CONNECTIONS_ENDING_MAX, HTTP_CONNECTIONS_KEPT, HTTP_CONNECTIONS_MAX,
    HTTP_CONNECTIONS_MIN, PARTITIONS_MAX,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What of a data directory an earlier version may have made for everybody to read. What is made now is made private.
const OURS: [&str; 6] = ["log.redb", "checkpoint", "witness", "registry.ids", "cluster.id", ADDRESS_FILE];
/// The bits of a file's mode that are about its own user.
const OWN_USER: u32 = 0o700;

/// Takes from everybody else what they may do with this directory's files.
pub(super) fn close(dir: &Path) {
    for path in OURS.map(|name| dir.join(name)) {
        let Ok(found) = std::fs::metadata(&path) else { continue };
        let mode = found.permissions().mode();
        let own = Permissions::from_mode(mode & OWN_USER);
        if mode & 0o777 != own.mode()
            && let Err(error) = std::fs::set_permissions(&path, own)
        {
            tracing::warn!(%error, path = %path.display(), "others may read this file");
        }
    }
}

/// Raises the limit, as far as the process may, to what any number of partitions needs.
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

/// The connections that there are files for, beside those of so many partitions.
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

/// Connections of callers that this limit leaves room for.
fn served(limit: usize, partitions: u32) -> usize {
    limit.saturating_sub(needed(partitions, 0)).clamp(HTTP_CONNECTIONS_MIN, HTTP_CONNECTIONS_MAX)
}

fn needed(partitions: u32, callers: usize) -> usize {
    let own = FILES_OF_PROCESS + FILES_OF_PARTITION * partitions as usize;
    // One more is accepted before it is known whether there is a place for it.
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
