//! The settings of traces.

use super::{Checking, Setting, is_host_name};
use std::net::SocketAddr;

/// Traces in a ratio of 1.
const MILLION: f64 = 1e6;

/// Where spans are sent, and of which traces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traces {
    /// The URL of the collector: `http://`, a host and a port.
    pub endpoint: String,
    /// How many of a million traces that begin in this process are recorded.
    pub sampled_of_million: u32,
}

pub(super) fn check(checking: &mut Checking<'_>) -> Option<Traces> {
    let endpoint = checking.optional(Setting::OtlpEndpoint, endpoint);
    let sampled_of_million = checking.setting(Setting::TraceSampleRatio, of_million);
    if endpoint.is_none() && checking.is_changed(Setting::TraceSampleRatio) && !checking.is_given(Setting::OtlpEndpoint)
    {
        checking.clash(Setting::TraceSampleRatio, "has no effect without otlp_endpoint");
    }
    Some(Traces { endpoint: endpoint?, sampled_of_million: sampled_of_million? })
}

fn endpoint(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err(
            "is https, which is not supported: send to a collector on this machine over http, and let it send on"
                .into(),
        );
    }
    let address = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let is_named = |address: &str| {
        let parts = address.rsplit_once(':');
        parts.is_some_and(|(host, port)| is_host_name(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    match address.filter(|address| is_named(address) || address.parse::<SocketAddr>().is_ok()) {
        Some(address) => Ok(format!("http://{address}")),
        None => Err("is not http://, a host and a port, such as http://127.0.0.1:4317".to_owned()),
    }
}

fn of_million(text: &str) -> Result<u32, String> {
    let ratio = text.trim().parse().ok().filter(|ratio: &f64| (0.0..=1.0).contains(ratio));
    let wrong = || "is not a number from 0 to 1, such as 0.01".to_owned();
    // It is at most a million, so nothing is cut off.
    ratio.map(|ratio| (ratio * MILLION).round() as u32).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_host_and_port() {
        let good = ["http://127.0.0.1:4317", "http://[::1]:4317", "http://otel-collector.mon:4317"];
        assert_eq!(good.map(|text| endpoint(&format!("{text}/")).unwrap()), good);
        for bad in
            ["", "127.0.0.1:4317", "http://otel", "http://otel:0", "http://a:1/path", "http://u:p@a:1", "http://a b:1"]
        {
            assert!(endpoint(bad).unwrap_err().contains("a host and a port"), "{bad}");
        }
        assert!(endpoint("https://otel:4317").unwrap_err().contains("not supported"));
    }

    #[test]
    fn a_ratio_is_a_share() {
        let of = |text| of_million(text).ok();
        assert_eq!(
            ["0", "1", "0.01", " 0.5 ", "0.0000001"].map(of),
            [Some(0), Some(1_000_000), Some(10_000), Some(500_000), Some(0)]
        );
        assert_eq!(["", "-0.1", "1.1", "NaN", "1%", "inf"].map(of), [None; 6]);
    }
}
