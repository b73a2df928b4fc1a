//! A cluster that lets in who shows a certificate and a password, over TLS. Whoever lacks one of them is told so.

use super::topics::Place;
use crate::cli::assert_says;
use crate::process::Served;
use crate::rig::Rig;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use std::fs;
use std::path::Path;

const PASSWORD: &str = "of the user";
const KEY_PASSWORD: &str = "of the key";

/// A certificate with its key.
struct Identity {
    key: PKey<Private>,
    certificate: X509,
}

/// For `name`, from `authority` or itself one.
fn identity(name: &str, authority: Option<&Identity>) -> Identity {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_slice(&super::draw().to_be_bytes()[1..]).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(authority.map_or(&subject, |by| by.certificate.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    match authority {
        None => builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap(),
        Some(_) => {
            let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None));
            builder.append_extension(names.unwrap()).unwrap();
        }
    }
    builder.sign(authority.map_or(&key, |by| &by.key), MessageDigest::sha256()).unwrap();
    Identity { key, certificate: builder.build() }
}

/// Everything that broker and clients show each other. The client's key is encrypted.
fn make_files(dir: &Path) {
    let write = |name: &str, parts: &[Vec<u8>]| fs::write(dir.join(name), parts.concat()).unwrap();
    let (authority, other) = (identity("headroom-test-ca", None), identity("headroom-other-ca", None));
    let (broker, client) = (identity("broker", Some(&authority)), identity("client", Some(&authority)));
    let pem = |identity: &Identity| identity.certificate.to_pem().unwrap();
    write("ca.pem", &[pem(&authority)]);
    write("other-ca.pem", &[pem(&other)]);
    write("broker.pem", &[broker.key.private_key_to_pem_pkcs8().unwrap(), pem(&broker)]);
    write("client.pem", &[pem(&client)]);
    let cipher = Cipher::aes_256_cbc();
    let key = client.key.private_key_to_pem_pkcs8_passphrase(cipher, KEY_PASSWORD.as_bytes()).unwrap();
    write("client.key", &[key]);
    write("password", &[PASSWORD.into()]);
    write("wrong-password", &[b"another".to_vec()]);
    write("key-password", &[KEY_PASSWORD.into()]);
}

#[test]
fn only_clients_with_certificate_and_password_are_served() {
    let dir = tempfile::tempdir().unwrap();
    make_files(dir.path());
    let rig = Rig::secured(dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let settings = || {
        vec![
            ("HEADROOM_KAFKA_SECURITY_PROTOCOL", "sasl_ssl".to_owned()),
            ("HEADROOM_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512".to_owned()),
            ("HEADROOM_KAFKA_SASL_USERNAME", "headroom".to_owned()),
            ("HEADROOM_KAFKA_SASL_PASSWORD_FILE", file("password")),
            ("HEADROOM_KAFKA_SSL_CA", file("ca.pem")),
            ("HEADROOM_KAFKA_SSL_CERTIFICATE", file("client.pem")),
            ("HEADROOM_KAFKA_SSL_KEY", file("client.key")),
            ("HEADROOM_KAFKA_SSL_KEY_PASSWORD_FILE", file("key-password")),
        ]
    };
    let place = |settings| Place::on(&rig, "secured").by(rig.secured_broker(), settings);
    let let_in = place(settings());
    let_in.apply();
    let data = file("data");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--deadline-default-ms", "5000", "--data-dir", &data];
    let server = Served::start(&mut let_in.command(&serve));
    server.sell_out("slot-1");
    let verified = let_in.headroom(&["verify", "--data-dir", &data]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["clean: no law broken in", "fold, live state"]);

    let without = |names: &[&str]| settings().into_iter().filter(|(name, _)| !names.contains(name)).collect();
    let with = |name: &'static str, value| [without(&[name]), vec![(name, value)]].concat();
    let no_certificate =
        without(&["HEADROOM_KAFKA_SSL_CERTIFICATE", "HEADROOM_KAFKA_SSL_KEY", "HEADROOM_KAFKA_SSL_KEY_PASSWORD_FILE"]);
    let refused = [
        (with("HEADROOM_KAFKA_SASL_PASSWORD_FILE", file("wrong-password")), ["authentication failed"; 2]),
        (with("HEADROOM_KAFKA_SSL_CA", file("other-ca.pem")), ["certificate"; 2]),
        // The broker hangs up as soon as it has said so.
        (no_certificate, ["certificate", "disconnected"]),
        (with("HEADROOM_KAFKA_SSL_KEY_PASSWORD_FILE", file("password")), ["ssl.key.location"; 2]),
    ];
    for (settings, why) in refused {
        let ended = place(settings).headroom(&["topics", "check"]);
        assert_eq!(ended.code, 2, "{}{}", ended.out, ended.err);
        let said = ended.out + &ended.err;
        assert!(why.iter().any(|why| said.to_lowercase().contains(why)), "{why:?}: {said}");
        assert!(!said.contains(PASSWORD) && !said.contains(KEY_PASSWORD), "{said}");
    }
    assert_eq!(server.running.terminate().code, 0);
}
