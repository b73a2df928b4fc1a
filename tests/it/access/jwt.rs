//! JWTs: every algorithm that is accepted, what claims mean, and every forgery that is known to have worked somewhere.

use super::issuer::{AUDIENCE, Key, base64url, jwks};
use super::{START, bearer, known};
use crate::world::ManualClock;
use headroom::access::oidc::{Issuer, KeySource};
use headroom::access::{Access, Denied, Role, Roles, Ways};
use headroom::limits::{CREDENTIAL_BYTES_MAX, JWT_LEEWAY_S};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const ISSUER: &str = "https://id.example/shop";
/// The time at which these tests begin, in seconds.
const NOW: u64 = START.0 / 1_000_000;

pub fn issuer(keys: KeySource) -> Issuer {
    let roles = [("slot-admin", Role::Planner), ("shop", Role::Checkout), ("ops", Role::Operator)];
    let roles: BTreeMap<String, Roles> =
        roles.into_iter().map(|(value, role)| (value.to_owned(), Roles::of(&[role]))).collect();
    Issuer {
        url: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned(), "slots".to_owned()],
        keys,
        name_claim: "sub".to_owned(),
        roles_claim: "realm_access.roles".to_owned(),
        roles,
    }
}

pub fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": NOW + 600, "iat": NOW,
        "realm_access": {"roles": ["slot-admin", "unknown", "shop"]},
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

struct Given {
    rsa: Key,
    ec: Key,
    ec384: Key,
    ed: Key,
    clock: Arc<ManualClock>,
    access: Access,
    _dir: tempfile::TempDir,
}

impl Given {
    fn new() -> Given {
        let (rsa, ec) = (Key::rsa("r"), Key::ec("e", Nid::X9_62_PRIME256V1));
        let (ec384, ed) = (Key::ec("e384", Nid::SECP384R1), Key::ed("d"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::fs::write(&path, jwks(&[&rsa, &ec, &ec384, &ed])).unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let ways = Ways { issuer: Some(issuer(KeySource::File(path))), ..Ways::default() };
        let access = Access::only(ways, Arc::<ManualClock>::clone(&clock)).unwrap();
        Given { rsa, ec, ec384, ed, clock, access, _dir: dir }
    }

    fn ask(&self, claims: &Value) -> Result<(String, Roles), Denied> {
        bearer(&self.access, &self.ec.jwt("ES256", claims))
    }
}

const ANNA: &[Role] = &[Role::Planner, Role::Checkout];

#[test]
fn every_asymmetric_algorithm_is_accepted() {
    let given = Given::new();
    let Given { rsa, ec, ec384, ed, access, .. } = &given;
    let of_rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|algorithm| (rsa, algorithm));
    for (key, algorithm) in of_rsa.into_iter().chain([(ec, "ES256"), (ec384, "ES384"), (ed, "EdDSA")]) {
        let jwt = key.jwt(algorithm, &claims());
        assert_eq!(bearer(access, &jwt), known("anna", ANNA), "{algorithm}");
        // A second time, when it is remembered.
        assert_eq!(bearer(access, &jwt), known("anna", ANNA), "{algorithm}");
    }
    assert_eq!(access.counts().known, [None, Some(4), None]);
}

#[test]
fn claims_name_the_caller_and_give_roles() {
    let given = Given::new();
    let of_roles = |roles: Value| given.ask(&with("realm_access", json!({ "roles": roles })));
    assert_eq!(of_roles(json!(["ops"])), known("anna", &[Role::Operator]));
    assert_eq!(of_roles(json!("ops slot-admin")), known("anna", &[Role::Operator, Role::Planner]));
    for none in [json!([]), json!(["checkout", "OPS"]), json!(7), Value::Null, json!([["ops"], {"ops": "ops"}])] {
        assert_eq!(of_roles(none.clone()), known("anna", &[]), "{none}");
    }
    assert_eq!(given.ask(&without("realm_access")), known("anna", &[]));
    // A claim may have the whole path as its name.
    let mut named = without("realm_access");
    named["realm_access.roles"] = json!(["ops"]);
    assert_eq!(given.ask(&named), known("anna", &[Role::Operator]));
    assert_eq!(given.ask(&with("aud", json!(["other", "slots"]))), known("anna", ANNA));
    assert_eq!(given.ask(&with("exp", json!(NOW as f64 + 0.5))), known("anna", ANNA));
    for (name, value) in
        [("sub", json!("local")), ("sub", json!("x".repeat(65))), ("sub", json!(7)), ("sub", json!(""))]
    {
        assert_eq!(given.ask(&with(name, value.clone())), Err(Denied::Nameless), "{value}");
    }
    assert_eq!(given.ask(&without("sub")), Err(Denied::Nameless));
}

#[test]
fn a_jwt_is_believed_between_two_times_only() {
    let given = Given::new();
    let exp = |seconds: u64| with("exp", json!(seconds));
    for (claims, denied) in [
        (exp(NOW - JWT_LEEWAY_S), Denied::Expired),
        (exp(0), Denied::Expired),
        (without("exp"), Denied::Unknown),
        (with("exp", json!("soon")), Denied::Unknown),
        (with("exp", json!(-1)), Denied::Unknown),
        (with("nbf", json!(NOW + JWT_LEEWAY_S + 1)), Denied::TooEarly),
        (with("nbf", json!("later")), Denied::Malformed),
        (with("iat", json!(NOW + 3_600)), Denied::TooEarly),
        (with("iat", json!(1e300)), Denied::TooEarly),
    ] {
        assert_eq!(given.ask(&claims), Err(denied), "{claims}");
    }
    for claims in [
        exp(NOW - JWT_LEEWAY_S + 1),
        with("exp", json!(u64::MAX)),
        with("nbf", json!(NOW + JWT_LEEWAY_S)),
        without("iat"),
    ] {
        assert_eq!(given.ask(&claims), known("anna", ANNA), "{claims}");
    }
    // One that is remembered expires like any other.
    let jwt = given.ec.jwt("ES256", &exp(NOW + 60));
    assert_eq!(bearer(&given.access, &jwt), known("anna", ANNA));
    given.clock.pass_ms((60 + JWT_LEEWAY_S) * 1_000 - 1);
    assert_eq!(bearer(&given.access, &jwt), known("anna", ANNA));
    given.clock.pass_ms(1);
    assert_eq!(bearer(&given.access, &jwt), Err(Denied::Expired));
}

/// The header of a JWT by the key with this id.
fn head(algorithm: &str, id: &str) -> String {
    json!({"alg": algorithm, "kid": id}).to_string()
}

/// What is signed of a JWT with this header.
fn message(header: &str) -> String {
    format!("{}.{}", base64url(header.as_bytes()), base64url(claims().to_string().as_bytes()))
}

fn assert_denied(access: &Access, forgeries: impl IntoIterator<Item = (&'static str, String, Denied)>) {
    for (what, jwt, denied) in forgeries {
        assert_eq!(bearer(access, &jwt), Err(denied), "{what}");
    }
}

#[test]
fn a_signature_that_is_not_of_the_issuer_is_refused() {
    let given = Given::new();
    let Given { rsa, ec, ec384, access, .. } = &given;
    let claims = claims().to_string();
    let by_hmac = |secret: &[u8], id: &str| {
        let message = message(&head("HS256", id));
        let mut signer = Signer::new(MessageDigest::sha256(), &PKey::hmac(secret).unwrap()).unwrap();
        signer.update(message.as_bytes()).unwrap();
        format!("{message}.{}", base64url(&signer.sign_to_vec().unwrap()))
    };
    let der = |header: &str| {
        let message = message(header);
        let mut signer = Signer::new(MessageDigest::sha256(), &ec.pair).unwrap();
        format!("{message}.{}", base64url(&signer.sign_oneshot_to_vec(message.as_bytes()).unwrap()))
    };
    let good = ec.jwt_of("ES256", &head("ES256", "e"), &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = ec.jwt("ES256", &with("sub", json!("eve")));
    let other_message = other.rsplit_once('.').unwrap().0;
    let stranger = Key::rsa("r");
    let own_key = json!({"alg": "RS256", "kid": "r", "jwk": stranger.jwk()}).to_string();
    let from_url = json!({"alg": "RS256", "kid": "r", "jku": "http://127.0.0.1:9/keys", "x5u": "http://127.0.0.1:9"});
    let pem = rsa.pair.public_key_to_pem().unwrap();
    let public = rsa.pair.public_key_to_der().unwrap();
    let forgeries = [
        ("no signature", format!("{}.", message(&head("none", "r"))), Denied::Malformed),
        ("none in capitals", format!("{}.", message(&head("NONE", "r"))), Denied::Malformed),
        ("no algorithm", format!("{}.", message("{\"kid\":\"r\"}")), Denied::Malformed),
        ("an empty signature", format!("{signed}."), Denied::Unknown),
        ("a signature of zeros", format!("{signed}.{}", base64url(&[0; 64])), Denied::Unknown),
        ("the public key as a secret, in PEM", by_hmac(&pem, "r"), Denied::Unknown),
        ("the public key as a secret, in DER", by_hmac(&public, "r"), Denied::Unknown),
        ("a secret of one zero", by_hmac(b"\0", "r"), Denied::Unknown),
        ("the key of somebody else", stranger.jwt_of("RS256", &head("RS256", "r"), &claims), Denied::Unknown),
        ("its own key in the header", stranger.jwt_of("RS256", &own_key, &claims), Denied::Unknown),
        ("a URL of keys in the header", stranger.jwt_of("RS256", &from_url.to_string(), &claims), Denied::Unknown),
        ("another kind of key", rsa.jwt_of("RS256", &head("RS256", "e"), &claims), Denied::Unknown),
        ("another algorithm of the key", ec.jwt_of("ES256", &head("ES384", "e"), &claims), Denied::Unknown),
        ("another curve", ec384.jwt_of("ES384", &head("ES256", "e384"), &claims), Denied::Unknown),
        ("PSS told as PKCS #1", rsa.jwt_of("PS256", &head("RS256", "r"), &claims), Denied::Unknown),
        ("a signature in DER", der(&head("ES256", "e")), Denied::Unknown),
        ("a path as key id", ec.jwt_of("ES256", &head("ES256", "../../etc/passwd"), &claims), Denied::Unknown),
        ("SQL as key id", ec.jwt_of("ES256", &head("ES256", "e' OR '1'='1"), &claims), Denied::Unknown),
        ("no key id", ec.jwt_of("ES256", "{\"alg\":\"ES256\"}", &claims), Denied::Unknown),
        ("the signature of another", format!("{other_message}.{signature}"), Denied::Unknown),
    ];
    assert_denied(access, forgeries);
    assert_eq!(bearer(access, &good), known("anna", ANNA));
}

#[test]
fn what_the_issuer_has_signed_for_others_or_in_other_words_is_refused() {
    let given = Given::new();
    let Given { ec, ed, access, .. } = &given;
    let claims = claims().to_string();
    let good = ec.jwt_of("ES256", &head("ES256", "e"), &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let critical = json!({"alg": "ES256", "kid": "e", "crit": ["b64"], "b64": false}).to_string();
    let deep = format!("{{\"sub\":{}1{}}}", "[".repeat(1_000), "]".repeat(1_000));
    let twice = claims.replace("\"sub\":\"anna\"", "\"sub\":\"anna\",\"sub\":\"eve\"");
    let exp_twice = claims.replacen("\"iat\"", "\"exp\":99999999999,\"iat\"", 1);
    let roles_twice = claims.replacen("\"iat\"", "\"realm_access\":{},\"iat\"", 1);
    let of = |claims: &str| ec.jwt_of("ES256", &head("ES256", "e"), claims);
    let forgeries = [
        ("a critical header", ec.jwt_of("ES256", &critical, &claims), Denied::Malformed),
        ("another issuer", ec.jwt("ES256", &with("iss", json!("https://id.example"))), Denied::Unknown),
        ("the issuer with a slash", ec.jwt("ES256", &with("iss", json!(format!("{ISSUER}/")))), Denied::Unknown),
        ("no issuer", ec.jwt("ES256", &without("iss")), Denied::Unknown),
        ("another audience", ec.jwt("ES256", &with("aud", json!("headroom2"))), Denied::Unknown),
        ("other audiences", ec.jwt("ES256", &with("aud", json!(["a", "b"]))), Denied::Unknown),
        ("an empty audience", ec.jwt("ES256", &with("aud", json!([]))), Denied::Unknown),
        ("no audience", ec.jwt("ES256", &without("aud")), Denied::Unknown),
        ("deep JSON", ed.jwt_of("EdDSA", &head("EdDSA", "d"), &deep), Denied::Malformed),
        ("two names", of(&twice), Denied::Malformed),
        ("two ends", of(&exp_twice), Denied::Malformed),
        ("roles twice", of(&roles_twice), Denied::Malformed),
        ("claims that are a list", of("[1]"), Denied::Malformed),
        ("claims that are no JSON", of("{\"sub\""), Denied::Malformed),
        ("a header that is no JSON", ec.jwt_of("ES256", "ES256", &claims), Denied::Malformed),
        ("bad base64", format!("{}!.{signature}", &signed[..signed.len() - 1]), Denied::Unknown),
        ("base64 with padding", format!("{good}=="), Denied::Malformed),
        ("five parts", format!("{good}.a.b"), Denied::Malformed),
        ("two parts", signed.to_owned(), Denied::Malformed),
        ("no parts", "x".to_owned(), Denied::Malformed),
        ("dots", "..".to_owned(), Denied::Malformed),
        ("a huge one", format!("{good}{}", "A".repeat(CREDENTIAL_BYTES_MAX)), Denied::Malformed),
    ];
    assert_denied(access, forgeries);
    assert_eq!(bearer(access, &good), known("anna", ANNA));
}

#[test]
fn a_key_that_signs_nothing_for_us_is_left_out() {
    let (rsa, ec) = (Key::rsa("a"), Key::ec("b", Nid::X9_62_PRIME256V1));
    let changed = |key: &Key, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let given = |keys: Value| {
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
        let ways = Ways { issuer: Some(issuer(KeySource::File(path.clone()))), ..Ways::default() };
        Access::only(ways, Arc::new(ManualClock::at(START)))
    };
    let useless = [
        json!({"kty": "oct", "kid": "a", "k": "AAAA"}),
        json!({"kty": "EC", "kid": "a", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "new", "kid": "a"}),
        json!("no key"),
        changed(&rsa, "use", json!("enc")),
        changed(&rsa, "key_ops", json!(["encrypt"])),
        changed(&rsa, "alg", json!("RSA-OAEP")),
        changed(&rsa, "alg", json!("HS256")),
        changed(&ec, "alg", json!("RS256")),
        changed(&rsa, "n", json!("not base64!")),
    ];
    for key in &useless {
        assert!(given(json!([key])).unwrap_err().contains("no key of a kind"), "{key}");
    }
    let mut all = useless.to_vec();
    all.push(ec.jwk());
    let access = given(json!(all)).unwrap();
    assert_eq!(access.counts().known, [None, Some(1), None]);
    // The one key that there is need not be named.
    let jwt = ec.jwt_of("ES256", "{\"alg\":\"ES256\"}", &claims().to_string());
    assert_eq!(bearer(&access, &jwt), known("anna", ANNA));
    // A key for one algorithm verifies no other.
    let access = given(json!([changed(&rsa, "alg", json!("PS256"))])).unwrap();
    assert_eq!(bearer(&access, &rsa.jwt("RS256", &claims())), Err(Denied::Unknown));
    assert_eq!(bearer(&access, &rsa.jwt("PS256", &claims())), known("anna", ANNA));
    // Keys of fewer than 2,048 bits sign nothing.
    let short = Key { id: "a", pair: PKey::from_rsa(openssl::rsa::Rsa::generate(1_024).unwrap()).unwrap() };
    let access = given(json!([short.jwk()])).unwrap();
    assert_eq!(bearer(&access, &short.jwt("RS256", &claims())), Err(Denied::Unknown));
    assert!(given(json!(vec![ec.jwk(); 65])).unwrap_err().contains("more than 64 keys"));
}

/// The story: an issuer listed its key once for each algorithm, and another one gave its keys no ids. Only the last key of each
/// id was known, and JWTs by the others were refused for as long as they were listed.
#[test]
fn keys_that_share_an_id_or_have_none_are_all_known() {
    let (one, other, rsa) = (Key::ec("k", Nid::X9_62_PRIME256V1), Key::ec("k", Nid::X9_62_PRIME256V1), Key::rsa("k"));
    let of_rsa = ["RS256", "PS256"].map(|algorithm| {
        let mut jwk = rsa.jwk();
        jwk["alg"] = json!(algorithm);
        jwk
    });
    let listed: Vec<Value> = [one.jwk(), other.jwk()].into_iter().chain(of_rsa).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    for id in [Some("k"), None] {
        let mut keys = listed.clone();
        if id.is_none() {
            for key in &mut keys {
                key.as_object_mut().unwrap().remove("kid");
            }
        }
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
        let ways = Ways { issuer: Some(issuer(KeySource::File(path.clone()))), ..Ways::default() };
        let access = Access::only(ways, Arc::new(ManualClock::at(START))).unwrap();
        assert_eq!(access.counts().known, [None, Some(4), None]);
        let ask = |key: &Key, algorithm: &str, id: Option<&str>| {
            let mut header = json!({ "alg": algorithm });
            if let Some(id) = id {
                header["kid"] = json!(id);
            }
            bearer(&access, &key.jwt_of(algorithm, &header.to_string(), &claims().to_string()))
        };
        for (key, algorithm) in [(&one, "ES256"), (&other, "ES256"), (&rsa, "RS256"), (&rsa, "PS256")] {
            assert_eq!(ask(key, algorithm, id), known("anna", ANNA), "{algorithm} {id:?}");
        }
        // Nobody else is, and no JWT counts that names its key in another way than the issuer.
        let others = if id.is_some() { None } else { Some("k") };
        let stranger = Key::ec("k", Nid::X9_62_PRIME256V1);
        for (key, algorithm, id) in [(&stranger, "ES256", id), (&rsa, "RS384", id), (&one, "ES256", others)] {
            assert_eq!(ask(key, algorithm, id), Err(Denied::Unknown), "{algorithm} {id:?}");
        }
    }
}
