//! The settings of the canary.

use super::{Checking, Setting, number};
use crate::limits::{CANARY_INTERVAL_MAX_MS, CANARY_INTERVAL_MIN_MS};

/// The time between two rounds, in milliseconds; `None` when there is no canary.
pub(super) fn check(checking: &mut Checking<'_>) -> Option<u64> {
    let is_on = checking
        .setting(Setting::Canary, |text| text.trim().parse().map_err(|_| "is neither true nor false".to_owned()));
    let range = CANARY_INTERVAL_MIN_MS..=CANARY_INTERVAL_MAX_MS;
    let interval_ms = checking.setting(Setting::CanaryIntervalMs, |text| number(text, range.clone()));
    interval_ms.filter(|_| is_on == Some(true))
}
