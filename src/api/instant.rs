//! Instants, as callers write them: RFC 3339 and no other format, from 1970 to the end of the year 9999, to the
//! microsecond.

use crate::domain::Micros;
use crate::time::{EPOCH, LAST};
use jiff::civil::DateTime;
use std::fmt;

/// A date and a time, digit by digit.
const SHAPE: &[u8] = b"0000-00-00T00:00:00";

/// Why a text is not an instant. The words continue a sentence that begins with the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wrong(&'static str);

const BEFORE: &str = "which is before 1970";
const AFTER: &str = "which is after the year 9999";
const FINER: &str = "which is finer than a microsecond";
const SYNTAX: Wrong = Wrong("it has to be an RFC 3339 time with its offset, like 2030-01-01T10:00:00Z");

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Reads an instant in RFC 3339.
///
/// # Errors
/// [`Wrong`] says what is not valid.
pub fn parse(text: &str) -> Result<Micros, Wrong> {
    let (date_time, rest) = text.split_at_checked(SHAPE.len()).ok_or(SYNTAX)?;
    let fits = |(is, shape): (u8, &u8)| match shape {
        b'0' => is.is_ascii_digit(),
        shape => is.eq_ignore_ascii_case(shape),
    };
    if !date_time.bytes().zip(SHAPE).all(fits) {
        return Err(SYNTAX);
    }
    if text.get(17..19) == Some("60") {
        return Err(Wrong("which is a leap second: the time here has none, take the second before it"));
    }
    let (fraction_us, offset) = fraction(rest)?;
    // The pattern has been checked. Only a day or an hour that does not exist is left to refuse.
    let date_time: DateTime = date_time.to_ascii_uppercase().parse().map_err(|_| SYNTAX)?;
    let seconds = date_time.duration_since(EPOCH).as_secs().saturating_sub(offset_s(offset)?);
    let us = u64::try_from(seconds).map_err(|_| Wrong(BEFORE))?;
    let us = us.saturating_mul(1_000_000).saturating_add(fraction_us);
    if us > LAST.0 { Err(Wrong(AFTER)) } else { Ok(Micros(us)) }
}

/// An instant in seconds and nanoseconds since the Unix epoch.
///
/// # Errors
/// [`Wrong`] says what is not valid.
pub fn of_parts(seconds: i64, nanos: i32) -> Result<Micros, Wrong> {
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let nanos = nanos.ok_or(Wrong("its nanoseconds have to be from 0 to 999999999"))?;
    let seconds = u64::try_from(seconds).map_err(|_| Wrong(BEFORE))?;
    if nanos % 1_000 != 0 {
        return Err(Wrong(FINER));
    }
    let us = seconds.saturating_mul(1_000_000).saturating_add(u64::from(nanos / 1_000));
    if us > LAST.0 { Err(Wrong(AFTER)) } else { Ok(Micros(us)) }
}

/// A fraction of a second, in microseconds, and what follows it.
fn fraction(rest: &str) -> Result<(u64, &str), Wrong> {
    let Some(rest) = rest.strip_prefix('.') else { return Ok((0, rest)) };
    let end = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = rest.split_at_checked(end).filter(|(digits, _)| !digits.is_empty()).ok_or(SYNTAX)?;
    let (kept, finer) = digits.split_at_checked(6).unwrap_or((digits, ""));
    if finer.bytes().any(|digit| digit != b'0') {
        return Err(Wrong(FINER));
    }
    let us = format!("{kept:0<6}").parse().map_err(|_| SYNTAX)?;
    Ok((us, rest))
}

/// `Z`, or `+hh:mm`, in seconds.
fn offset_s(text: &str) -> Result<i64, Wrong> {
    let [sign, hours @ .., b':', minutes_tens, minutes_ones] = text.as_bytes() else {
        return if text.eq_ignore_ascii_case("Z") { Ok(0) } else { Err(SYNTAX) };
    };
    let two = |digits: &[u8]| match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens & 15).saturating_mul(10).saturating_add(i64::from(ones & 15)))
        }
        _ => None,
    };
    let hours = two(hours).filter(|hours| *hours < 24).ok_or(SYNTAX)?;
    let minutes = two(&[*minutes_tens, *minutes_ones]).filter(|minutes| *minutes < 60).ok_or(SYNTAX)?;
    let seconds = hours.saturating_mul(3_600).saturating_add(minutes.saturating_mul(60));
    match sign {
        b'+' => Ok(seconds),
        b'-' => Ok(seconds.saturating_neg()),
        _ => Err(SYNTAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Shown;

    #[test]
    fn what_is_said_is_shown_in_utc() {
        for (said, shown) in [
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
            ("2026-11-21t10:00:00z", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00+08:00", "2026-11-21T02:00:00Z"),
            ("2026-11-21T10:00:00-00:00", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00-23:59", "2026-11-22T09:59:00Z"),
            ("2026-11-21T10:00:00.5Z", "2026-11-21T10:00:00.5Z"),
            ("2026-11-21T10:00:00.000001Z", "2026-11-21T10:00:00.000001Z"),
            ("2026-11-21T10:00:00.123456000000Z", "2026-11-21T10:00:00.123456Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            let at = parse(said).unwrap_or_else(|why| panic!("{said} {why}"));
            assert_eq!(Shown(at).to_string(), shown, "{said}");
            assert_eq!(parse(shown), Ok(at), "{shown}");
        }
        assert_eq!(Shown(Micros(u64::MAX)).to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn parts_are_an_instant_or_refused() {
        assert_eq!(of_parts(1, 5_000), Ok(Micros(1_000_005)));
        for (seconds, nanos) in [(-1, 0), (1, 5), (1, -1), (1, 1_000_000_000), (i64::MAX, 0), (253_402_300_800, 0)] {
            assert!(of_parts(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn what_is_near_the_standard_is_refused() {
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21T10Z",
            "2026-11-21T10:00Z",
            "2026-11-21T10:00:00",
            "2026-11-21 10:00:00Z",
            "2026-11-21T10:00:00,5Z",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00:00+25:59",
            "2026-11-21T10:00:00+24:00",
            "2026-11-21T10:00:00+05:60",
            "2026-11-21T10:00:00+05",
            "2026-11-21T10:00:00+0500",
            "2026-11-21T10:00:00+05:00:00",
            "2026-11-21T10:00:00+05:00[!Europe/Berlin]",
            "2026-11-21T10:00:00Z[Europe/Berlin]",
            "2026-11-21T10:00:00 Z",
            " 2026-11-21T10:00:00Z",
            "2026-11-21T10:00:00Z ",
            "2026-11-21T23:59:60Z",
            "2026-11-21T24:00:00Z",
            "2026-11-31T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-02-29T10:00:00Z",
            "+002026-11-21T10:00:00Z",
            "20261121T100000Z",
            "2026-W47-6T10:00:00Z",
            "2026-11-21T10:00:0éZ",
            "１026-11-21T10:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00Z",
            "2026-11-21T10:00:00.1234567Z",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let leap = parse("2016-12-31T23:59:60Z").unwrap_err();
        assert!(leap.to_string().contains("leap second"), "{leap}");
    }
}
