//! Client certificates: which name in one counts, and for whom.

use super::START;
use crate::world::ManualClock;
use headroom::access::{Access, Credentials, Denied, Role, Roles, Ways};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use std::path::Path;
use std::sync::Arc;

fn access(path: &Path, text: &str) -> Result<Access, String> {
    std::fs::write(path, text).unwrap();
    let ways = Ways { certificates: Some(path.to_owned()), ..Ways::default() };
    Access::only(ways, Arc::new(ManualClock::at(START)))
}

/// A certificate with these names, in DER.
fn certificate(common: Option<&str>, alternatives: &[SanType]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(common) = common {
        params.distinguished_name.push(DnType::CommonName, common);
    }
    params.subject_alt_names = alternatives.to_vec();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

const MAP: &str = r#"{"certificates":[
    {"subject":"uri:spiffe://shop.example/checkout","name":"checkout","roles":["checkout"]},
    {"subject":"dns:Planner.shop.example","name":"planner","roles":["planner","viewer"]},
    {"subject":"email:ops@shop.example","name":"ops","roles":["operator"]},
    {"subject":"cn:scraper","name":"scraper","roles":["metrics"]}
]}"#;

#[test]
fn the_first_name_of_the_file_that_a_certificate_has_counts() {
    let dir = tempfile::tempdir().unwrap();
    let access = access(&dir.path().join("certificates.json"), MAP).unwrap();
    let uri = || SanType::URI("spiffe://shop.example/checkout".try_into().unwrap());
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let email = || SanType::Rfc822Name("ops@shop.example".try_into().unwrap());
    for (common, alternatives, expected) in [
        (None, vec![uri()], Ok(("checkout", Roles::of(&[Role::Checkout])))),
        (Some("scraper"), vec![dns("planner.SHOP.example"), uri()], Ok(("checkout", Roles::of(&[Role::Checkout])))),
        (
            Some("scraper"),
            vec![dns("x"), dns("planner.SHOP.example")],
            Ok(("planner", Roles::of(&[Role::Planner, Role::Viewer]))),
        ),
        (None, vec![email()], Ok(("ops", Roles::of(&[Role::Operator])))),
        (Some("scraper"), vec![], Ok(("scraper", Roles::of(&[Role::Metrics])))),
        // A name of another kind, a part of a name, or a wildcard is another name.
        (Some("planner.shop.example"), vec![dns("scraper")], Err(Denied::Unknown)),
        (Some("scraper2"), vec![dns("*.shop.example"), dns("a.planner.shop.example")], Err(Denied::Unknown)),
        (None, vec![], Err(Denied::Unknown)),
    ] {
        let of = access.of_certificate(&certificate(common, &alternatives));
        let principal = of.as_ref().map(|principal| (principal.name.as_ref().unwrap().as_str(), principal.roles));
        assert_eq!(principal, expected.as_ref().map(|known| *known), "{common:?} {alternatives:?}");
        // The connection brings it along with every call.
        let credentials = Credentials { authorization: None, certificate: Some(&of) };
        assert_eq!(access.principal(credentials), of);
        // A token that is sent counts instead, whatever the certificate says.
        let credentials = Credentials { authorization: Some("Bearer x"), certificate: Some(&of) };
        assert_eq!(access.principal(credentials), Err(Denied::Unknown));
    }
    for broken in [&b""[..], b"no certificate", &certificate(Some("scraper"), &[])[..100]] {
        assert_eq!(access.of_certificate(broken), Err(Denied::Unknown));
    }
}

#[test]
fn a_file_of_certificates_that_is_wrong_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("certificates.json");
    for (text, says) in [
        ("", "it is not as expected"),
        (&MAP.replace("cn:", "o:"), "\"o:scraper\": it has to begin with dns:, uri:, email: or cn:"),
        (&MAP.replace("cn:scraper", "cn:"), "it has to begin with"),
        (&MAP.replace("metrics", "all"), "the role \"all\" is wrong"),
        (&MAP.replace("\"ops\"", "\"local\""), "the name local stands for"),
    ] {
        let refused = access(&path, text).unwrap_err();
        assert!(refused.contains(says) && refused.contains("certificates.json: "), "{refused}");
    }
    // A change of the file holds for the next connection.
    let access = access(&path, MAP).unwrap();
    let der = certificate(Some("scraper"), &[]);
    assert!(access.of_certificate(&der).is_ok());
    std::fs::write(&path, MAP.replace("cn:scraper", "cn:other")).unwrap();
    access.look_at_files();
    assert_eq!(access.of_certificate(&der), Err(Denied::Unknown));
    std::fs::write(&path, "broken").unwrap();
    access.look_at_files();
    assert_eq!(access.counts().failures, [0, 0, 1]);
    assert!(access.of_certificate(&certificate(Some("other"), &[])).is_ok());
}
