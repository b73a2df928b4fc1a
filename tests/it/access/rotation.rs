//! The keys of an issuer on the network: found, rotated, and not reachable.

use super::issuer::{Key, Publisher};
use super::jwt::{ISSUER, claims, issuer};
use super::{START, bearer};
use crate::server::{Server, runtime};
use crate::world::ManualClock;
use headroom::access::oidc::{Issuer, KeySource};
use headroom::access::{Access, Denied, Ways};
use headroom::config::{Auth, Proofs};
use headroom::limits::{JWKS_ASKED_MS, JWKS_BYTES_MAX, JWKS_PERIOD_MS, JWKS_RETRY_MS};
use headroom::time::{Stopwatch, SystemClock};
use openssl::nid::Nid;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

struct Given {
    publisher: Publisher,
    clock: Arc<ManualClock>,
    access: Access,
}

impl Given {
    /// An issuer whose keys are found by its discovery document.
    fn discovered() -> Given {
        let publisher = Publisher::start();
        let issuer = Issuer { url: publisher.url(), ..issuer(KeySource::Discovery) };
        Given::of(publisher, issuer)
    }

    /// An issuer whose keys are at a URL that is set.
    fn at_url() -> Given {
        let publisher = Publisher::start();
        let keys = KeySource::Url(format!("{}/keys", publisher.url()));
        Given::of(publisher, issuer(keys))
    }

    fn of(publisher: Publisher, issuer: Issuer) -> Given {
        let clock = Arc::new(ManualClock::at(START));
        let ways = Ways { issuer: Some(issuer), ..Ways::default() };
        let access = Access::only(ways, Arc::<ManualClock>::clone(&clock)).unwrap();
        Given { publisher, clock, access }
    }

    fn refresh(&self) {
        runtime().block_on(self.access.refresh_keys());
    }

    fn is_known(&self, jwt: &str) -> bool {
        match bearer(&self.access, jwt) {
            Ok(_) => true,
            Err(denied) => {
                assert_eq!(denied, Denied::Unknown);
                false
            }
        }
    }

    fn failures(&self) -> u64 {
        self.access.counts().failures[1]
    }
}

fn key(id: &'static str) -> Key {
    Key::ec(id, Nid::X9_62_PRIME256V1)
}

fn of_issuer(url: &str) -> Value {
    // Long enough for the whole test.
    let mut claims = claims();
    claims["iss"] = json!(url);
    claims["exp"] = json!(START.0 / 1_000_000 + 86_400);
    claims
}

#[test]
fn keys_are_found_rotated_and_taken_away() {
    let given = Given::discovered();
    let (old, new) = (key("old"), key("new"));
    let claims = of_issuer(&given.publisher.url());
    let [by_old, by_new] = [&old, &new].map(|key| key.jwt("ES256", &claims));
    assert!(!given.is_known(&by_old));
    assert_eq!(given.access.counts().keys_age_us, None);
    given.publisher.publish(&[&old]);
    given.refresh();
    assert!(given.is_known(&by_old) && !given.is_known(&by_new));
    given.clock.pass_ms(1_000);
    assert_eq!(given.access.counts().keys_age_us, Some(1_000_000));
    // A key that is not known is asked for, at most once in a while: calls never wait for it.
    given.publisher.publish(&[&old, &new]);
    let asked = given.publisher.asked();
    given.refresh();
    assert_eq!(given.publisher.asked(), asked);
    given.clock.pass_ms(JWKS_ASKED_MS);
    assert!(!given.is_known(&by_new));
    given.refresh();
    assert!(given.is_known(&by_new) && given.is_known(&by_old));
    // What a key has signed that is gone is not believed, although it was remembered.
    given.publisher.publish(&[&new]);
    given.clock.pass_ms(JWKS_PERIOD_MS);
    given.refresh();
    assert!(given.is_known(&by_new) && !given.is_known(&by_old));
    // A new key may take the name of another one.
    let impostor = key("new");
    given.publisher.publish(&[&impostor]);
    given.clock.pass_ms(JWKS_PERIOD_MS);
    given.refresh();
    assert!(given.is_known(&impostor.jwt("ES256", &claims)) && !given.is_known(&by_new));
    assert_eq!(given.failures(), 0);
}

#[test]
fn unknown_keys_do_not_make_us_a_flood() {
    let given = Given::discovered();
    let claims = of_issuer(&given.publisher.url());
    given.publisher.publish(&[&key("known")]);
    given.refresh();
    let (begun, jwts) = (given.publisher.asked(), ["strange", "known"].map(|id| key(id).jwt("ES256", &claims)));
    // Each attempt asks for the discovery document and for the keys.
    for attempts in 1..4 {
        given.clock.pass_ms(JWKS_ASKED_MS);
        for _ in 0..20 {
            assert!(jwts.iter().all(|jwt| !given.is_known(jwt)));
            given.refresh();
        }
        assert_eq!(given.publisher.asked(), begun + 2 * attempts);
    }
}

/// The story: an issuer had replaced its key and kept the id of the key, or gave its keys no ids. For five minutes every caller
/// was told that it was not known, because no JWT had an id that was new.
#[test]
fn a_key_that_takes_the_place_of_another_one_is_asked_for_at_once() {
    for (algorithm, new) in [("ES256", key("key")), ("RS256", Key::rsa("key"))] {
        for header in [json!({"alg": algorithm, "kid": "key"}), json!({"alg": algorithm})] {
            let given = Given::discovered();
            given.publisher.publish(&[&key("key")]);
            given.refresh();
            given.publisher.publish(&[&new]);
            given.clock.pass_ms(JWKS_ASKED_MS);
            let claims = of_issuer(&given.publisher.url()).to_string();
            let jwt = new.jwt_of(algorithm, &header.to_string(), &claims);
            assert!(!given.is_known(&jwt), "{header}");
            given.refresh();
            assert!(given.is_known(&jwt), "{header}");
        }
    }
}

#[test]
fn an_issuer_that_does_not_answer_leaves_the_keys_that_are_known() {
    let given = Given::at_url();
    let known = key("known");
    let jwt = known.jwt("ES256", &of_issuer(ISSUER));
    given.publisher.publish(&[&known]);
    given.refresh();
    assert!(given.is_known(&jwt));
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(JWKS_BYTES_MAX));
    let redirect = given.publisher.url();
    let answers: [(u16, String); 6] = [
        (503, String::new()),
        (200, "no JSON".to_owned()),
        (200, "{\"keys\":[]}".to_owned()),
        (200, huge),
        (302, redirect),
        (404, String::new()),
    ];
    given.clock.pass_ms(JWKS_PERIOD_MS);
    let mut pause_ms = JWKS_RETRY_MS;
    for (failures, answer) in (1..).zip(answers) {
        given.publisher.answer(move |_| answer.clone());
        given.refresh();
        assert_eq!(given.failures(), failures);
        assert!(given.is_known(&jwt));
        // It is asked again after a pause that grows.
        given.clock.pass_ms(pause_ms - 1);
        given.refresh();
        assert_eq!(given.failures(), failures);
        assert_eq!(given.access.counts().unreadable, [false, true, false]);
        given.clock.pass_ms(1);
        pause_ms *= 2;
    }
    given.publisher.publish(&[&known]);
    given.refresh();
    assert!(given.is_known(&jwt));
    assert_eq!(given.access.counts().keys_age_us, Some(0));
    assert_eq!(given.access.counts().unreadable, [false; 3], "the keys are the same as before");
}

#[test]
fn a_discovery_document_is_believed_only_of_its_own_issuer_and_over_https() {
    let given = Given::discovered();
    let signing = key("known");
    let jwt = signing.jwt("ES256", &of_issuer(&given.publisher.url()));
    let url = given.publisher.url();
    for (failures, document) in (1..).zip([
        json!({"issuer": "https://other.example", "jwks_uri": format!("{url}/keys")}),
        json!({"issuer": format!("{url}/"), "jwks_uri": format!("{url}/keys")}),
        json!({"issuer": url, "jwks_uri": "http://192.0.2.1/keys"}),
        json!({"issuer": url, "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": url}),
    ]) {
        let keys = super::issuer::jwks(&[&signing]);
        given.publisher.answer(move |path| (200, if path == "/keys" { keys.clone() } else { document.to_string() }));
        given.clock.pass_ms(JWKS_PERIOD_MS);
        given.refresh();
        assert_eq!(given.failures(), failures);
        assert!(!given.is_known(&jwt));
    }
}

/// The story: an issuer took connections and did not answer. A server that was started meanwhile served nobody before its
/// questions had timed out, also no caller with an API token, and its probes were not answered either.
#[test]
fn a_start_does_not_wait_until_the_questions_to_an_issuer_time_out() {
    let (dir, silent) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}", silent.local_addr().unwrap());
    let issuer = Issuer { url, ..issuer(KeySource::Discovery) };
    let mut config = Server::config(dir.path(), 1);
    config.auth = Auth::On(Proofs { tokens: false, issuer: Some(issuer), certificates: None });
    let starting = Stopwatch::start();
    let _server = Server::of(&config, Arc::new(SystemClock::new()));
    // One question may take so long.
    assert!(starting.elapsed() < Duration::from_secs(5), "{:?}", starting.elapsed());
}
