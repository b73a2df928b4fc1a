//! The search for the highest rate that is sustained with p99 below a bound: doubling, then bisection. Every step is a
//! whole phase, shown like any other.

use crate::session::{Beside, Figures, Session};

/// Times the rate is doubled.
const DOUBLINGS_MAX: u32 = 8;
/// Times the gap between good and bad is halved: to about 6 % of the rate.
const HALVINGS: u32 = 4;

/// The highest rate found, as far as one session's requests are bounded; 0 when not even the first one is good.
///
/// # Errors
/// Why a phase could not be run.
pub async fn climb(
    session: &mut Session,
    first: f64,
    p99_ms: f64,
    show: &mut impl FnMut(Figures),
) -> Result<f64, String> {
    let (mut good, mut bad) = (0.0, None);
    let mut rate = first;
    for _ in 0..=DOUBLINGS_MAX {
        if !step(session, rate, p99_ms, show).await? {
            bad = Some(rate);
            break;
        }
        good = rate;
        rate *= 2.0;
        if !session.has_room(rate) {
            return Ok(good);
        }
    }
    let Some(mut bad) = bad.filter(|_| good > 0.0) else { return Ok(good) };
    for _ in 0..HALVINGS {
        let middle = (good + bad) / 2.0;
        if !session.has_room(middle) {
            break;
        }
        if step(session, middle, p99_ms, show).await? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

async fn step(session: &mut Session, rate: f64, p99_ms: f64, show: &mut impl FnMut(Figures)) -> Result<bool, String> {
    let figures = session.phase(rate, Beside::Nothing).await?;
    let p99_us = figures.reserves.all_us().value_at_quantile(0.99);
    let is_good = figures.not_sustained().is_none() && (p99_us as f64) < p99_ms * 1e3;
    show(figures);
    Ok(is_good)
}
