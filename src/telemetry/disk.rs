//! Metrics of the disk under the data directory.

use super::register::{Register, as_gauge, gauges};
use prometheus::IntGaugeVec;

/// What was seen of the disk under the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disk {
    /// The size of the log's files; `None` where the log is on a cluster.
    pub log_file_bytes: Option<u64>,
    /// How many bytes this process may still write.
    pub avail_bytes: u64,
    /// The size of the whole file system.
    pub size_bytes: u64,
}

pub(super) struct DiskMetrics {
    log_file: IntGaugeVec,
    avail: IntGaugeVec,
    size: IntGaugeVec,
}

impl DiskMetrics {
    pub(super) fn new(r: &Register) -> DiskMetrics {
        DiskMetrics {
            log_file: gauges(r, "headroom_log_file_bytes", "Size of the files of the embedded log.", &[]),
            avail: gauges(
                r,
                "headroom_data_filesystem_avail_bytes",
                "Bytes that this process may still write to the file system of the data directory.",
                &[],
            ),
            size: gauges(
                r,
                "headroom_data_filesystem_size_bytes",
                "Size of the file system of the data directory.",
                &[],
            ),
        }
    }

    pub(super) fn saw(&self, disk: &Disk) {
        let set = |gauges: &IntGaugeVec, bytes| gauges.with_label_values::<&str>(&[]).set(as_gauge(bytes));
        if let Some(bytes) = disk.log_file_bytes {
            set(&self.log_file, bytes);
        }
        set(&self.avail, disk.avail_bytes);
        set(&self.size, disk.size_bytes);
    }
}
