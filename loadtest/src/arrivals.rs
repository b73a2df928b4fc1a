//! When requests are due. This is decided before the run and does not depend on the server (an open model).

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Due times in microseconds from the start, up to the end.
pub struct Arrivals {
    next_us: f64,
    gap_us: f64,
    end_us: f64,
    /// The source of random numbers; `None` for even arrivals.
    chance: Option<StdRng>,
}

impl Arrivals {
    /// `rate` a second for so long, evenly spaced.
    pub fn even(rate: f64, seconds: f64) -> Arrivals {
        Arrivals { next_us: 0.0, gap_us: 1e6 / rate, end_us: seconds * 1e6, chance: None }
    }

    /// `rate` a second on average for so long, as independent callers make them.
    pub fn poisson(rate: f64, seconds: f64, seed: u64) -> Arrivals {
        Arrivals { chance: Some(StdRng::seed_from_u64(seed)), ..Arrivals::even(rate, seconds) }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let due = self.next_us;
        if due >= self.end_us {
            return None;
        }
        self.next_us += match &mut self.chance {
            None => self.gap_us,
            // 1 - [0, 1) is never 0, so that its logarithm is finite.
            Some(rng) => -(1.0 - unit(rng)).ln() * self.gap_us,
        };
        Some(due as u64)
    }
}

fn unit(rng: &mut impl Rng) -> f64 {
    rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_are_as_many_as_asked_for() {
        let due: Vec<_> = Arrivals::even(1_000.0, 2.0).collect();
        assert_eq!((due.len(), due[0], due[1], due[1_999]), (2_000, 0, 1_000, 1_999_000));
    }

    #[test]
    fn chance_keeps_the_rate_and_repeats_with_its_seed() {
        let draw = |seed| Arrivals::poisson(1_000.0, 60.0, seed).collect::<Vec<_>>();
        let due = draw(1);
        assert!((59_000..61_000).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted() && due == draw(1) && due != draw(2));
        // A fifth of the gaps is shorter than 0.22 of the mean, as an exponential has it.
        let short = due.windows(2).filter(|w| w[1] - w[0] < 223).count();
        assert!((11_000..13_000).contains(&short), "{short}");
    }
}
