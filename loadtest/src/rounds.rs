//! Rounds of two phases each, without another load and with it. The speed of a machine changes from minute to minute, but
//! the ratio of two phases that follow each other changes much less.

use crate::session::Figures;
use serde_json::{Value, json};

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
        std::array::from_fn(|of| {
            let mut values: Vec<f64> = self.0.iter().map(|round| round[of]).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        })
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
