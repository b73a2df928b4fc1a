//! The life of an API token: made, used, expired, revoked; and a file that is broken meanwhile.

use super::{START, ask, bearer, known};
use crate::world::ManualClock;
use headroom::access::{Access, Denied, NewToken, Principal, Role, Roles, Tokens, Ways};
use headroom::app::{new_token, write_private};
use headroom::domain::{Micros, Name};
use headroom::limits::{CREDENTIAL_BYTES_MAX, TOKENS_MAX};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SHOP: &[Role] = &[Role::Checkout];

fn principal(name: &str, roles: &[Role]) -> Principal {
    Principal { name: Some(Name::new(name).unwrap()), roles: Roles::of(roles) }
}

/// A file of tokens, and whoever reads it.
struct Given {
    path: PathBuf,
    clock: Arc<ManualClock>,
    access: Access,
    tokens: Tokens,
}

impl Given {
    fn new(dir: &Path) -> Given {
        let (path, clock) = (dir.join("tokens.json"), Arc::new(ManualClock::at(START)));
        write_private(&path, &Tokens::default().render(), None).unwrap();
        let ways = Ways { tokens: Some(path.clone()), ..Ways::default() };
        let access = Access::only(ways, Arc::<ManualClock>::clone(&clock)).unwrap();
        Given { path, clock, access, tokens: Tokens::default() }
    }

    fn add(&mut self, name: &str, expires: Option<Micros>) -> NewToken {
        let token = new_token();
        self.tokens.add(&token, principal(name, SHOP), expires).unwrap();
        self.write();
        token
    }

    fn write(&self) {
        write_private(&self.path, &self.tokens.render(), None).unwrap();
        self.access.look_at_files();
    }
}

#[test]
fn a_token_is_known_until_it_expires_or_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = Given::new(dir.path());
    let soon = Micros(START.0 + 60_000_000);
    let (lasting, short) = (given.add("shop", None), given.add("till", Some(soon)));
    for (token, name) in [(&lasting, "shop"), (&short, "till")] {
        assert_eq!(bearer(&given.access, &token.text), known(name, SHOP));
    }
    given.clock.pass_ms(59_999);
    assert_eq!(bearer(&given.access, &short.text), known("till", SHOP));
    given.clock.pass_ms(1);
    assert_eq!(bearer(&given.access, &short.text), Err(Denied::Expired));
    assert_eq!(bearer(&given.access, &lasting.text), known("shop", SHOP));
    assert_eq!(given.tokens.revoke("shop"), std::slice::from_ref(&lasting.id));
    given.write();
    assert_eq!(bearer(&given.access, &lasting.text), Err(Denied::Unknown));
}

#[test]
fn only_the_whole_token_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = Given::new(dir.path());
    let (token, other) = (given.add("shop", None), given.add("shop", None));
    let mixed = format!("{}{}", &token.text[..16], &other.text[16..]);
    let strange = new_token().text;
    for (sent, denied) in [
        (format!("Bearer {mixed}"), Denied::Unknown),
        (format!("Bearer {strange}"), Denied::Unknown),
        (format!("Bearer {}", token.hash), Denied::Unknown),
        (format!("Bearer hr_{}_{}", token.id, token.hash), Denied::Unknown),
        (format!("Bearer {}", token.text.to_uppercase()), Denied::Unknown),
        (format!("Bearer {}0", token.text), Denied::Malformed),
        (format!("Bearer hr_{}", "0".repeat(CREDENTIAL_BYTES_MAX)), Denied::Malformed),
        (format!("Basic {}", token.text), Denied::Malformed),
        (token.text.clone(), Denied::Malformed),
        ("Bearer ".to_owned(), Denied::Malformed),
        ("Bearer".to_owned(), Denied::Malformed),
        (String::new(), Denied::Malformed),
    ] {
        assert_eq!(ask(&given.access, &sent), Err(denied), "{sent}");
    }
    // How the scheme is written does not matter.
    assert_eq!(ask(&given.access, &format!("bEARER  {} ", token.text)), known("shop", SHOP));
    assert_eq!(given.access.principal(Default::default()), Err(Denied::Missing));
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_tokens_that_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = Given::new(dir.path());
    let token = given.add("shop", None);
    let good = given.tokens.render();
    let twice =
        good.replace("\"tokens\": [", "\"tokens\": [ {\"id\":\"a\",\"name\":\"b\",\"roles\":[],\"sha256\":\"\"},");
    let broken = [
        ("{", "it is not as expected"),
        ("{}", "missing field `tokens`"),
        (&good.replace("checkout", "admin"), "the role \"admin\" is wrong"),
        (&good.replace("\"shop\"", "\"local\""), "the name local stands for"),
        (&good.replace("\"shop\"", "\" shop\""), "the name \" shop\""),
        (&good.replace("\"id\"", "\"secret\": \"x\", \"id\""), "unknown field `secret`"),
        (&twice, "sha256 is not 64 hexadecimal digits"),
        (&good.replace("\"roles\"", "\"expires\": \"tomorrow\", \"roles\""), "expires is no time of RFC 3339"),
    ];
    for (failures, (text, says)) in (1..).zip(broken) {
        write_private(&given.path, text, None).unwrap();
        given.access.look_at_files();
        // It is told once, and not at every look.
        given.access.look_at_files();
        assert_eq!(given.access.counts().failures, [failures, 0, 0], "{text}");
        assert_eq!(given.access.counts().unreadable, [true, false, false]);
        assert_eq!(bearer(&given.access, &token.text), known("shop", SHOP));
        let ways = Ways { tokens: Some(given.path.clone()), ..Ways::default() };
        let refused = Access::only(ways, Arc::<ManualClock>::clone(&given.clock)).unwrap_err();
        assert!(refused.contains(says) && refused.contains("tokens.json: "), "{refused}");
    }
    std::fs::remove_file(&given.path).unwrap();
    given.access.look_at_files();
    assert_eq!(bearer(&given.access, &token.text), known("shop", SHOP));
    write_private(&given.path, &good, None).unwrap();
    std::fs::set_permissions(&given.path, Permissions::from_mode(0o666)).unwrap();
    given.access.look_at_files();
    assert_eq!(given.access.counts().failures, [broken.len() as u64 + 2, 0, 0]);
    // It is read again as soon as it is whole.
    given.tokens.revoke(&token.id);
    given.write();
    assert_eq!(bearer(&given.access, &token.text), Err(Denied::Unknown));
    assert_eq!(given.access.counts().known, [Some(0), None, None]);
    assert_eq!(given.access.counts().unreadable, [false; 3]);
}

#[test]
fn a_file_has_a_bound_and_every_id_once() {
    let mut tokens = Tokens::default();
    let first = new_token();
    tokens.add(&first, principal("shop", SHOP), None).unwrap();
    assert!(tokens.add(&first, principal("shop", SHOP), None).unwrap_err().contains("the same id"));
    for _ in 1..TOKENS_MAX {
        tokens.add(&new_token(), principal(&"n".repeat(64), &Role::ALL), Some(START)).unwrap();
    }
    assert!(tokens.add(&new_token(), principal("shop", SHOP), None).unwrap_err().contains("more than"));
    // The largest file is one that can be read.
    let read = Tokens::parse(&tokens.render()).unwrap();
    assert_eq!(read.count(), TOKENS_MAX);
    assert_eq!(tokens.revoke(&"n".repeat(64)).len(), TOKENS_MAX - 1);
}

#[test]
fn the_token_of_the_data_directory_is_an_operator() {
    let token = new_token();
    let text = token.text.clone();
    let ways = Ways { local: Some(token), ..Ways::default() };
    let access = Access::only(ways, Arc::new(ManualClock::at(START))).unwrap();
    assert_eq!(bearer(&access, &text), known("local", &[Role::Operator]));
    assert_eq!(bearer(&access, &new_token().text), Err(Denied::Unknown));
    assert_eq!(bearer(&access, "a.b.c"), Err(Denied::Unknown));
    assert_eq!(access.of_certificate(b"").unwrap_err(), Denied::Unknown);
    for shown in [format!("{access:?}"), format!("{:?}", bearer(&access, &text))] {
        assert!(!shown.contains(&text[3..15]), "{shown}");
    }
}
