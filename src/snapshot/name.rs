//! The name of a snapshot: where its state is, of when its last event is, and the hash of its rows.

use crate::domain::{Digest, Micros};
use std::fmt;

/// The end of the name of the object with the rows.
const ROWS: &str = ".rows";
/// The end of the name of the manifest.
const MANIFEST: &str = ".json";

/// The name of a snapshot. Names are ordered by position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Name {
    /// The sequence number after the last event in it.
    pub(super) next_seq: u64,
    /// The time of its last event.
    pub(super) at: Micros,
    /// The beginning of the hash of its rows.
    pub(super) hash: Digest,
}

/// Which of the two objects of a snapshot a name belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Rows,
    Manifest,
}

impl Name {
    /// The name of one of its two objects.
    pub(super) fn of(&self, part: Part) -> String {
        let end = match part {
            Part::Rows => ROWS,
            Part::Manifest => MANIFEST,
        };
        format!("{self}{end}")
    }

    /// Reads the name of an object. Names of other objects give nothing.
    pub(super) fn parse(text: &str) -> Option<(Name, Part)> {
        let (text, part) = match (text.strip_suffix(ROWS), text.strip_suffix(MANIFEST)) {
            (Some(text), _) => (text, Part::Rows),
            (None, text) => (text?, Part::Manifest),
        };
        let mut parts = text.split('-');
        let mut number = || parts.next()?.parse().ok();
        let (next_seq, at) = (number()?, Micros(number()?));
        let name = Name { next_seq, at, hash: Digest::parse(parts.next()?)? };
        // Only what is written in this form: a name has one text.
        (parts.next().is_none() && name.to_string() == text).then_some((name, part))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { next_seq, at, hash } = self;
        write!(f, "{next_seq:020}-{:020}-{hash}", at.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_text_and_names_sort_by_position() {
        let name = |next_seq| Name { next_seq, at: Micros(1_700_000_000_000_000), hash: Digest([0xab; 16]) };
        for part in [Part::Rows, Part::Manifest] {
            assert_eq!(Name::parse(&name(7).of(part)), Some((name(7), part)));
        }
        assert!(name(9).to_string() < name(10).to_string() && name(9) < name(10));
        let text = name(7).to_string();
        let short = text.replacen("00000000000000000007", "7", 1);
        for other in
            ["", ".json", "x.json", &text, &format!("{text}.txt"), &format!("{text}-0.json"), &format!("{short}.json")]
        {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        assert_eq!(Name::parse(&format!("{}.json", text.to_uppercase())), None);
    }
}
