//! Metrics of the certificate that is served.

use super::register::{Register, as_gauge, counters, gauge};
use prometheus::{IntCounterVec, IntGauge};

/// Result of a reload: the new files are in use.
const TAKEN: &str = "ok";
/// Result of a reload: the files of before are in use.
const FAILED: &str = "failed";

/// What is known of the certificate.
pub(super) struct TlsMetrics {
    expiry: IntGauge,
    reloads: IntCounterVec,
    unusable: IntGauge,
}

impl TlsMetrics {
    pub(super) fn new(r: &Register) -> TlsMetrics {
        TlsMetrics {
            expiry: gauge(
                r,
                "headroom_tls_certificate_expiry_timestamp_seconds",
                "When the certificate that is served expires, in seconds since 1970; 0 without TLS.",
            ),
            reloads: counters(
                r,
                "headroom_tls_reloads_total",
                "New files of TLS that were taken, or could not be used.",
                &["result"],
            ),
            unusable: gauge(
                r,
                "headroom_tls_unusable",
                "1 while the new files of TLS cannot be used, and those of before are served on; 0 otherwise.",
            ),
        }
    }

    /// Sets the counters to 0.
    pub(super) fn begin(&self) {
        for result in [TAKEN, FAILED] {
            self.reloads.with_label_values(&[result]);
        }
    }

    /// When the certificate that is served expires, in seconds since 1970.
    pub(super) fn expires(&self, at_s: u64) {
        self.expiry.set(as_gauge(at_s));
    }

    /// New files were taken, or could not be used.
    pub(super) fn reloaded(&self, is_taken: bool) {
        self.unusable.set(i64::from(!is_taken));
        self.reloads.with_label_values(&[if is_taken { TAKEN } else { FAILED }]).inc();
    }

    /// The files are those that are served.
    pub(super) fn unchanged(&self) {
        self.unusable.set(0);
    }
}
