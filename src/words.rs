//! How people are told a number of things.

/// So many of something, in words whose plural has an s, or es after ch and ss.
pub fn counted(number: u64, what: &str) -> String {
    format!("{number} {}", named(number, what))
}

/// The word alone for so many of something.
pub fn named(number: u64, what: &str) -> String {
    let end = match number {
        1 => "",
        _ if what.ends_with("ch") || what.ends_with("ss") => "es",
        _ => "s",
    };
    format!("{what}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_told_as_several() {
        let told = [0, 1, 2].map(|number| [counted(number, "live reservation"), counted(number, "breach")]);
        assert_eq!(told[0], ["0 live reservations", "0 breaches"]);
        assert_eq!(told[1], ["1 live reservation", "1 breach"]);
        assert_eq!(told[2], ["2 live reservations", "2 breaches"]);
    }
}
