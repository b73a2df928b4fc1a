//! Looks at the files of TLS from time to time, and takes new ones without ending a connection.

use super::looks;
use crate::gateway::Gateway;
use crate::telemetry::Metrics;
use crate::threads;
use crate::time::Clock;
use crate::tls::Server;
use std::sync::Arc;

/// Interval at which the files of TLS are looked at for changes, in milliseconds.
const TLS_LOOK_MS: u64 = 1_000;

/// A log line warns of a certificate that expires within so many days.
const TLS_EXPIRY_WARN_DAYS: u64 = 14;

const DAY_S: u64 = 24 * 60 * 60;
/// Looks of one day, after which a certificate that expires soon is named again.
const LOOKS_OF_A_DAY: u64 = DAY_S * 1_000 / TLS_LOOK_MS;

/// Reloads for as long as it is polled.
pub(super) async fn watch(tls: Arc<Server>, gateway: Arc<Gateway>, metrics: Arc<Metrics>) {
    let _watched = threads::watch("certificates");
    let mut ticks = looks::every(TLS_LOOK_MS);
    let (mut failure, mut until_told) = (Failure::default(), 0_u64);
    loop {
        ticks.tick().await;
        let looked = Arc::clone(&tls);
        let Some(reloaded) = looks::blocking(move || looked.reload()).await else { return };
        match reloaded {
            Ok(true) => {
                metrics.tls_reloaded(true);
                tracing::info!(expires_s = tls.expires_s(), "the certificate was reloaded");
                (failure, until_told) = (Failure::default(), 0);
            }
            Ok(false) => {
                metrics.tls_unchanged();
                failure = Failure::default();
            }
            Err(error) if failure.lasts(&error.to_string()) => {
                metrics.tls_reloaded(false);
                tracing::error!(%error, "the new files of TLS cannot be used: the certificate of before is served on");
            }
            Err(_) => {}
        }
        if until_told == 0 {
            tell_expiry(&tls, gateway.clock(), &metrics);
            until_told = LOOKS_OF_A_DAY;
        }
        until_told -= 1;
    }
}

/// An error that was seen. A certificate and its key are two files, and for a moment only one of them is new: so an
/// error counts when it is there at the next look too, and then once.
#[derive(Default)]
struct Failure(Option<(String, bool)>);

impl Failure {
    fn lasts(&mut self, error: &str) -> bool {
        let is_same = self.0.as_ref().is_some_and(|(before, _)| before == error);
        let is_counted = is_same && self.0.as_ref().is_some_and(|(_, is_counted)| *is_counted);
        self.0 = Some((error.to_owned(), is_same));
        is_same && !is_counted
    }
}

fn tell_expiry(tls: &Server, clock: &dyn Clock, metrics: &Metrics) {
    let expires_s = tls.expires_s();
    metrics.certificate_expires(expires_s);
    let now_s = clock.wall().0 / 1_000_000;
    let days = expires_s.saturating_sub(now_s) / DAY_S;
    if days < TLS_EXPIRY_WARN_DAYS {
        tracing::warn!(days, expires_s, "the certificate expires soon: replace its files");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_counts_once_and_only_when_it_lasts() {
        let mut failure = Failure::default();
        let counted = ["a", "a", "a", "b", "a", "a"].map(|error| failure.lasts(error));
        assert_eq!(counted, [false, true, false, false, false, true]);
    }
}
