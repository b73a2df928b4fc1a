//! Single words of a scenario: numbers, names, durations, modes.

use super::Parsed;
use headroom::domain::{Edit, Mode, Name};
use std::collections::BTreeSet;
use std::fmt::Display;

pub fn wrong(text: &str, why: impl Display) -> String {
    format!("`{text}` {why}")
}

pub fn number(text: &str) -> Parsed<u64> {
    text.parse().map_err(|why| wrong(text, why))
}

pub fn name(text: &str) -> Parsed<Name> {
    Name::new(text).map_err(|why| wrong(text, why))
}

pub fn names(text: &str) -> Parsed<BTreeSet<Name>> {
    text.split(',').map(name).collect()
}

pub fn edited_ms(text: &str) -> Parsed<Edit<u64>> {
    if text == "none" { Ok(Edit::Clear) } else { Ok(Edit::To(duration(text)? / 1_000)) }
}

pub fn yes(text: &str) -> Parsed<bool> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(wrong(text, "is neither yes nor no")),
    }
}

pub fn mode(text: &str) -> Parsed<Mode> {
    match text {
        "open" => Ok(Mode::Open),
        "paused" => Ok(Mode::Paused),
        "closed" => Ok(Mode::Closed),
        _ => Err(wrong(text, "is no mode")),
    }
}

/// `250ms`, `60s`, `24h`, `7d`…, in microseconds.
pub fn duration(text: &str) -> Parsed<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| wrong(text, "has no unit"))?;
    let (count, unit) = text.split_at(at);
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(wrong(text, "has no unit that is known")),
    };
    number(count)?.checked_mul(micros).ok_or_else(|| wrong(text, "is too long"))
}
