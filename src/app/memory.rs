//! Looks from time to time at how much memory the process has, and at how much it may have. At the limit the system kills it
//! without a log line, and every process of a log holds all partitions: they come to their limits at about the same time. So the
//! gateway is told, and refuses new work before.

use super::looks;
use crate::gateway::Gateway;
use crate::telemetry::{Metrics, ProcessMemory};
use crate::threads;
use std::path::Path;
use std::sync::Arc;

/// Interval at which the memory is looked at, in milliseconds. A limit can be changed while the process runs.
const MEMORY_LOOK_MS: u64 = 5_000;

/// Looks until the runtime ends.
pub(super) async fn watch(gateway: Arc<Gateway>, metrics: Arc<Metrics>) {
    let _watched = threads::watch("memory");
    let mut ticks = looks::every(MEMORY_LOOK_MS);
    loop {
        ticks.tick().await;
        let Some(seen) = looks::blocking(|| look(Path::new("/"))).await else { return };
        if let Some(seen) = seen {
            metrics.process_memory(&seen);
            gateway.saw_memory(seen.used_bytes, seen.limit_bytes);
        }
    }
}

/// What the process has and may have, as the system says it below `root`; `None` when it does not. The lowest limit counts: that
/// of its control group, of a group around that one, or the memory of the machine.
fn look(root: &Path) -> Option<ProcessMemory> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let used_bytes = line_bytes(&read("proc/self/status")?, "VmRSS:")?;
    let machine_bytes = line_bytes(&read("proc/meminfo")?, "MemTotal:")?;
    let groups = read("proc/self/cgroup").unwrap_or_default();
    // The word "max" is no limit.
    let limits = groups.lines().flat_map(limit_files).filter_map(|path| read(&path)?.trim().parse::<u64>().ok());
    Some(ProcessMemory { used_bytes, limit_bytes: limits.fold(machine_bytes, u64::min) })
}

/// The value of the line that begins so, which is in kB.
fn line_bytes(text: &str, begin: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(begin))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}

/// Where the limits are of a line of `/proc/self/cgroup`: of its group, and of those around it up to the root. In a container
/// the root is often the container's own group, whatever the line says.
fn limit_files(line: &str) -> Vec<String> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (mount, file) = match parts.next() {
        Some("") => ("sys/fs/cgroup", "memory.max"),
        Some("memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let group = Path::new(parts.next().unwrap_or("/"));
    group.ancestors().map(|group| format!("{mount}{}/{file}", group.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// What is seen on a machine of 8 GiB of a process that has 1 GiB, is in this group, and has files of limits beside it.
    fn seen<const N: usize>(group: &str, limits: [(&str, &str); N]) -> Option<ProcessMemory> {
        let root = tempfile::tempdir().unwrap();
        let own = [
            ("proc/self/status", "Name:\theadroom\nVmHWM:\t 2097152 kB\nVmRSS:\t 1048576 kB\n"),
            ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:         7000000 kB\n"),
            ("proc/self/cgroup", group),
        ];
        for (path, text) in own.into_iter().chain(limits) {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        look(root.path())
    }

    #[test]
    fn the_lowest_limit_counts_of_the_group_those_around_it_and_the_machine() {
        let limit = |seen: Option<ProcessMemory>| seen.map(|ProcessMemory { limit_bytes, .. }| limit_bytes);
        let container = seen("0::/\n", [("sys/fs/cgroup/memory.max", "2147483648\n")]);
        assert_eq!(container, Some(ProcessMemory { used_bytes: GIB, limit_bytes: 2 * GIB }));
        assert_eq!(limit(seen("0::/\n", [("sys/fs/cgroup/memory.max", "max\n")])), Some(8 * GIB), "no limit");
        assert_eq!(limit(seen("", [])), Some(8 * GIB), "no groups");
        let service = [
            ("sys/fs/cgroup/shop.slice/memory.max", "3221225472\n"),
            ("sys/fs/cgroup/shop.slice/headroom.service/memory.max", "max\n"),
        ];
        assert_eq!(limit(seen("0::/shop.slice/headroom.service\n", service)), Some(3 * GIB), "of the group around it");
        let first = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/pods/headroom/memory.limit_in_bytes", "4294967296\n"),
        ];
        let groups = "4:memory:/pods/headroom\n1:cpu:/pods/headroom\n0::/\n";
        assert_eq!(limit(seen(groups, first)), Some(4 * GIB), "of the first version of control groups");
        let elsewhere = [("sys/fs/cgroup/memory/memory.limit_in_bytes", "4294967296\n")];
        assert_eq!(limit(seen(groups, elsewhere)), Some(4 * GIB), "the container sees only its own group, as the root");
    }

    #[test]
    fn what_the_system_does_not_say_is_not_known() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(look(root.path()), None);
    }
}
