//! Numbers of 128 bits as 32 hexadecimal digits: ids of logs and commands, and digests.

/// The digit of a value below 16.
pub const fn hex_digit(value: u8) -> u8 {
    value.wrapping_add(if value < 10 { b'0' } else { b'a' - 10 })
}

/// Stands for the value of a byte that is no digit.
const NO_DIGIT: u8 = 16;
/// The value of each byte as a digit. Only lower case is accepted, so that one value has one text.
#[expect(clippy::indexing_slicing, reason = "when it is compiled")]
const WORTH: [u8; 256] = {
    let (mut worth, mut value) = ([NO_DIGIT; 256], 0);
    while value < NO_DIGIT {
        worth[hex_digit(value) as usize] = value;
        value += 1;
    }
    worth
};

/// A number of 128 bits from its text of 32 hexadecimal digits; `None` when it is anything else. Each event has such a text,
/// so its digits are looked up and not judged.
pub fn hex128(text: impl AsRef<[u8]>) -> Option<u128> {
    let digits: &[u8; 32] = text.as_ref().try_into().ok()?;
    let half = |digits: &[u8]| {
        digits.iter().fold((0u64, 0u8), |(number, all), digit| {
            let worth = WORTH.get(usize::from(*digit)).copied().unwrap_or(NO_DIGIT);
            (number << 4 | u64::from(worth), all | worth)
        })
    };
    let (high, low) = digits.split_first_chunk::<16>()?;
    let ((high, a), (low, b)) = (half(high), half(low));
    (a | b < NO_DIGIT).then(|| u128::from(high) << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_text() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u128::MAX, 0xfedc << 112] {
            assert_eq!(hex128(format!("{number:032x}")), Some(number));
        }
        let text = format!("{:032x}", 0xab_u128);
        for other in [&*text.to_uppercase(), &text[1..], &format!("0{text}"), "", &text.replace("ab", "ag")] {
            assert_eq!(hex128(other), None, "{other}");
        }
        for bad in ["+", "-", " ", "é", "g", "/", ":", "`"] {
            assert_eq!(hex128(format!("{bad}{}", &text[bad.len()..])), None, "{bad}");
        }
    }
}
