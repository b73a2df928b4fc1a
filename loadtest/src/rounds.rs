//! Rounds of two phases each, without another load and with it. The speed of a machine changes from minute to minute, but
//! the ratio of two phases that follow each other changes much less.

use crate::session::Figures;
use serde_json::{Value, json};
use std::fmt;

/// One value in all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The middle one; of an even number of rounds, the upper of the two in the middle.
    pub median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Of the values of all rounds; without rounds it is not a number.
    pub fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
        Spread { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)) }
    }

    /// The median and the range, as JSON.
    pub fn json(&self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most})
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.least, self.most)
    }
}

/// The 99th percentiles of reservations in each round, without the other load and with it, and their ratio.
pub struct Rounds(Vec<[f64; 3]>);

impl Rounds {
    /// The rounds of phases that alternate, the first one without the other load.
    pub fn of(phases: &[Figures]) -> Rounds {
        let p99_ms = |figures: &Figures| figures.reserves.all_us().value_at_quantile(0.99) as f64 / 1e3;
        let round = |pair: &[Figures]| match pair {
            [without, with] => Some([p99_ms(without), p99_ms(with), p99_ms(with) / p99_ms(without).max(1e-3)]),
            _ => None,
        };
        Rounds(phases.chunks(2).filter_map(round).collect())
    }

    fn medians(&self) -> [f64; 3] {
        std::array::from_fn(|of| Spread::of(self.0.iter().map(|round| round[of])).median)
    }

    /// The medians in one line.
    pub fn text(&self) -> String {
        let ([without, with, ratio], rounds) = (self.medians(), self.0.len());
        format!("p99 {without:.2} ms without, {with:.2} ms with; {ratio:.2} times as long (medians of {rounds} rounds)")
    }

    /// The medians, as JSON.
    pub fn json(&self) -> Value {
        let [without, with, ratio] = self.medians();
        json!({"rounds": self.0.len(), "p99_ms_without": without, "p99_ms_with": with, "ratio": ratio})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_one_round() {
        // The second round had a bad minute.
        let rounds = Rounds(vec![[2.0, 3.0, 1.5], [20.0, 30.0, 1.5], [4.0, 4.0, 1.0]]);
        assert_eq!(rounds.medians(), [4.0, 4.0, 1.5]);
        assert_eq!(rounds.text(), "p99 4.00 ms without, 4.00 ms with; 1.50 times as long (medians of 3 rounds)");
    }
}
