//! The deadline of a call, as the gRPC protocol writes it: up to eight digits and a unit.

use crate::api::problem::{Problem, RequestFault};
use crate::api::value::quoted;
use crate::limits::DEADLINE_MAX_MS;

/// Most digits that the protocol permits.
const DIGITS_MAX: usize = 8;
/// How much more than the longest timeout is read as the longest, in milliseconds: libraries of gRPC write the time that is
/// left, and some of them round it up.
const ROUNDED_UP_MS: u64 = 50;

/// Reads a grpc-timeout, in milliseconds. A begun millisecond does not count, so that no caller waits longer than it
/// asked for: less than one is 0, a deadline that has passed.
///
/// # Errors
/// The [`Problem`] to answer: what is longer than may be asked for is refused and not shortened, as over HTTP.
pub fn parse(text: &str) -> Result<u64, Problem> {
    let range = || {
        let detail = format!(
            "grpc-timeout is {}, it has to be 1 to {DIGITS_MAX} digits and a unit (H, M, S, m, u or n), and amount to at most \
             {DEADLINE_MAX_MS} milliseconds",
            quoted(text)
        );
        Problem::fault(RequestFault::BadTimeout, detail)
    };
    let ms = milliseconds(text).filter(|ms| *ms <= DEADLINE_MAX_MS.saturating_add(ROUNDED_UP_MS));
    ms.map(|ms| ms.min(DEADLINE_MAX_MS)).ok_or_else(range)
}

fn milliseconds(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_plain = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_plain)?;
    match unit {
        "H" => number.checked_mul(3_600_000),
        "M" => number.checked_mul(60_000),
        "S" => number.checked_mul(1_000),
        "m" => Some(number),
        "u" => Some(number / 1_000),
        "n" => Some(number / 1_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_what_is_out_of_range_is_refused() {
        let range = [("250m", 250), ("5S", 5_000), ("250000u", 250), ("1999999n", 1), ("00000001m", 1)];
        let passed = [("999u", 0), ("1n", 0), ("0m", 0), ("0S", 0)];
        let rounded = [("5001m", 5_000), ("5010m", 5_000), ("5050m", 5_000)];
        range
            .iter()
            .chain(&passed)
            .chain(&rounded)
            .for_each(|(text, ms)| assert_eq!(parse(text).unwrap(), *ms, "{text}"));
        for bad in ["", "m", "250", "250ms", "-1m", "+1m", " 1m", "1H", "1M", "6S", "5051m", "000000001m", "1é", "1s"]
        {
            let problem = parse(bad).unwrap_err();
            assert_eq!(problem.code(), "bad_timeout", "{bad}");
            assert!(problem.detail().contains("grpc-timeout is "), "{bad}");
        }
    }
}
