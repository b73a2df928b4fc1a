//! The settings that say how often callers may call.

use super::{Checking, Setting};
use crate::access::{Quota, Rate, Rates};
use crate::domain::Name;
use crate::limits::{QUOTA_BURST_MAX, QUOTA_NAMED_MAX, QUOTA_RATE_MAX};

pub(super) fn check(checking: &mut Checking<'_>) -> Quota {
    let takes = checking.optional(Setting::QuotaTakes, rates).unwrap_or_default();
    let reads = checking.optional(Setting::QuotaReads, rates).unwrap_or_default();
    Quota { takes, reads }
}

/// Parses `RATE[/BURST],NAME=RATE[/BURST],...`. Without a burst, the calls of one second may come at once.
fn rates(text: &str) -> Result<Rates, String> {
    let mut rates = Rates::default();
    for part in text.split(',').map(str::trim) {
        let is_new = match part.rsplit_once('=') {
            None => rates.others.replace(rate(part)?).is_none(),
            Some((name, of)) => {
                let name = Name::new(name.trim()).map_err(|error| format!("has the name {name:?}, which {error}"))?;
                rates.named.insert(name, rate(of)?).is_none()
            }
        };
        if !is_new {
            return Err(format!("has two rates for one caller, the second is {part:?}"));
        }
        if rates.named.len() > QUOTA_NAMED_MAX {
            return Err(format!("has rates for more than {QUOTA_NAMED_MAX} names"));
        }
    }
    Ok(rates)
}

fn rate(text: &str) -> Result<Rate, String> {
    let (per_second, burst) = text.split_once('/').unwrap_or((text, text));
    let numbers = per_second.trim().parse().ok().zip(burst.trim().parse().ok());
    let rate = numbers.and_then(|(per_second, burst)| Rate::new(per_second, burst));
    rate.ok_or_else(|| {
        format!(
            "has the rate {text:?}, which is not RATE or RATE/BURST, with a rate from 1 to {QUOTA_RATE_MAX} and a burst from \
             1 to {QUOTA_BURST_MAX}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_rate_for_everybody_and_rates_by_name() {
        let name = |text: &str| Name::new(text).unwrap();
        let rates = rates("100/200, partner = 50 ,a=b=7/1").unwrap();
        assert_eq!(rates.others, Rate::new(100, 200));
        assert_eq!(rates.of(None), Rate::new(100, 200));
        assert_eq!(rates.of(Some(&name("somebody"))), Rate::new(100, 200));
        assert_eq!(rates.of(Some(&name("partner"))), Rate::new(50, 50));
        assert_eq!(rates.of(Some(&name("a=b"))), Rate::new(7, 1));
        let only = super::rates("partner=50").unwrap();
        assert_eq!((only.of(None), only.of(Some(&name("partner")))), (None, Rate::new(50, 50)));
    }

    #[test]
    fn what_is_no_such_list_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("", "\"\""),
            ("0", "\"0\""),
            ("5/0", "\"5/0\""),
            ("5/", "\"5/\""),
            ("-1", "\"-1\""),
            ("1.5", "\"1.5\""),
            ("1000001", "1 to 1000000"),
            ("5,6", "the second is \"6\""),
            ("a=5,a=6", "the second is \"a=6\""),
            ("=5", "is empty"),
            ("5,", "\"\""),
        ] {
            let error = rates(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
