//! Decides which refused and failed requests get a log line, and counts the others. Each code gets a bounded number of
//! lines in a second: a rare refusal is found in the log, and a storm of refusals does not fill the disk. Time is an
//! argument.

use crate::domain::Micros;
use crate::limits::LOGGED_REFUSALS_PER_SECOND;
use std::collections::BTreeMap;

/// One code's share of the log.
#[derive(Clone, Copy, Default, Debug)]
struct Share {
    second: u64,
    written: u32,
    left_out: u64,
}

/// All codes' shares. There are about as many as the table of problems has rows.
#[derive(Default, Debug)]
pub(super) struct Samples(BTreeMap<&'static str, Share>);

impl Samples {
    /// Whether a request of this code that ended now gets a line.
    pub(super) fn admits(&mut self, code: &'static str, now: Micros) -> bool {
        let second = second_of(now);
        let share = self.0.entry(code).or_default();
        if share.second != second {
            *share = Share { second, written: 0, ..*share };
        }
        let is_admitted = share.written < LOGGED_REFUSALS_PER_SECOND;
        if is_admitted {
            share.written = share.written.saturating_add(1);
        } else {
            share.left_out = share.left_out.saturating_add(1);
        }
        is_admitted
    }

    /// How many requests of each code got no line in a second before `now`. Each request is reported once.
    pub(super) fn left_out(&mut self, now: Micros) -> Vec<(&'static str, u64)> {
        let second = second_of(now);
        let over = self.0.iter_mut().filter(|(_, share)| share.left_out > 0 && share.second != second);
        over.map(|(code, share)| (*code, std::mem::take(&mut share.left_out))).collect()
    }

    /// Whether there are requests without a line that were not reported yet.
    pub(super) fn has_left_out(&self) -> bool {
        self.0.values().any(|share| share.left_out > 0)
    }
}

fn second_of(now: Micros) -> u64 {
    now.0.checked_div(1_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = LOGGED_REFUSALS_PER_SECOND as u64;

    #[test]
    fn a_storm_of_one_code_is_cut_and_counted_and_hides_no_other() {
        let mut samples = Samples::default();
        let at = |ms: u64| Micros(ms * 1_000);
        let written =
            |samples: &mut Samples, code, ms| (0..100).filter(|_| samples.admits(code, at(ms))).count() as u64;
        assert_eq!(written(&mut samples, "over_limit", 5_000), MOST);
        assert!(samples.admits("internal", at(5_999)));
        assert_eq!(samples.left_out(at(5_999)), [], "the second is not over");
        assert_eq!(samples.left_out(at(6_000)), [("over_limit", 100 - MOST)]);
        assert_eq!(samples.left_out(at(6_000)), [], "told once");
        assert_eq!(written(&mut samples, "over_limit", 6_500), MOST);
        // No report was made in between, so the requests without a line add up.
        assert_eq!(written(&mut samples, "over_limit", 8_000), MOST);
        assert_eq!(samples.left_out(at(9_000)), [("over_limit", 2 * (100 - MOST))]);
    }
}
