//! Who may do what. The table is written out here and not made of the code's own. The tests of each edge ask all its cells:
//! `http::roles` over HTTP.

use crate::server::Server;
use headroom::access::{NewToken, Principal, Role, Roles, TOKEN_RANDOM_BYTES, Tokens};
use headroom::api::operation::Operation;
use headroom::config::{Auth, Config, Proofs};
use headroom::domain::Name;
use headroom::time::SystemClock;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Who may call, also without a credential.
const EVERYBODY: &str = "everybody";

/// An operation, and the roles of which one is needed for it.
const EXPECTED: &[(&str, &str)] = &[
    ("availability", "checkout viewer planner operator"),
    ("list_pools", "viewer planner operator"),
    ("watch_pools", "viewer planner operator"),
    ("get_pool", "viewer planner operator"),
    ("define_pool", "planner"),
    ("change_pool", "planner"),
    ("retire_pool", "planner"),
    ("set_mode", "planner"),
    ("list_reservations", "checkout viewer planner operator"),
    ("reserve", "checkout"),
    ("get_reservation", "checkout viewer planner operator"),
    ("amend", "checkout"),
    ("release", "checkout"),
    ("confirm", "checkout"),
    ("extend", "checkout"),
    ("livez", EVERYBODY),
    ("readyz", EVERYBODY),
    ("startupz", EVERYBODY),
    ("metrics", "operator metrics"),
    ("openapi", "checkout viewer planner operator"),
    ("docs", "checkout viewer planner operator"),
    ("read_log", "operator"),
    ("read_state", "operator"),
    ("support", "operator"),
    ("set_clock", "operator"),
    ("swap_state", "operator"),
];

/// Somebody who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Sends no credential.
    Nobody,
    /// Sends a token that nobody was given.
    Stranger,
    /// Sends a token of a principal that has this role and no other.
    With(Role),
}

impl Caller {
    pub const ALL: [Caller; 7] = [
        Caller::Nobody,
        Caller::Stranger,
        Caller::With(Role::Checkout),
        Caller::With(Role::Viewer),
        Caller::With(Role::Planner),
        Caller::With(Role::Operator),
        Caller::With(Role::Metrics),
    ];
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is done, or refused for what is in it.
    Taken,
    /// 401, or UNAUTHENTICATED.
    Unauthenticated,
    /// 403, or PERMISSION_DENIED.
    Forbidden,
}

/// The roles that the table names for an operation; none when it is for everybody.
pub fn roles_of(operation: Operation) -> Vec<&'static str> {
    let row = EXPECTED.iter().find(|(name, _)| *name == operation.name());
    let (_, roles) = row.unwrap_or_else(|| panic!("{} has no row", operation.name()));
    if *roles == EVERYBODY { Vec::new() } else { roles.split(' ').collect() }
}

/// What the table says of this call.
pub fn expected(operation: Operation, caller: Caller) -> Verdict {
    let roles = roles_of(operation);
    match caller {
        _ if roles.is_empty() => Verdict::Taken,
        Caller::Nobody | Caller::Stranger => Verdict::Unauthenticated,
        Caller::With(role) if roles.contains(&role.name()) => Verdict::Taken,
        Caller::With(_) => Verdict::Forbidden,
    }
}

/// A server that knows one principal for each role, and one more for the checkout.
pub struct Guarded {
    pub server: Server,
    pub dir: TempDir,
}

/// A second principal with the role of the checkout.
pub const OTHER_CHECKOUT: &str = "kiosk";

impl Guarded {
    pub fn start() -> Guarded {
        Guarded::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Guarded {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Guarded::config(dir.path());
        change(&mut config);
        let server = Server::ready(&config, Arc::new(SystemClock::new()));
        Guarded { server, dir }
    }

    fn config(dir: &Path) -> Config {
        let mut config = Server::config(dir, 1);
        config.tokens_file = dir.join("tokens.json");
        config.auth = Auth::On(Proofs { tokens: true, issuer: None, certificates: None });
        let mut tokens = Tokens::default();
        let named = Role::ALL.into_iter().map(|role| (role.name(), role)).chain([(OTHER_CHECKOUT, Role::Checkout)]);
        for (name, role) in named {
            let principal = Principal { name: Some(Name::new(name).unwrap()), roles: Roles::of(&[role]) };
            tokens.add(&drawn(name), principal, None).unwrap();
        }
        std::fs::write(&config.tokens_file, tokens.render()).unwrap();
        config
    }

    /// The token of the principal with this name.
    pub fn token(name: &str) -> String {
        drawn(name).text
    }

    /// The token that a caller sends.
    pub fn token_of(caller: Caller) -> Option<String> {
        match caller {
            Caller::Nobody => None,
            Caller::Stranger => Some(Guarded::token("stranger")),
            Caller::With(role) => Some(Guarded::token(role.name())),
        }
    }

    /// The header with the token of the principal with this name.
    pub fn header(name: &str) -> String {
        format!("Authorization: Bearer {}", Guarded::token(name))
    }
}

/// A token whose secret is made of a name.
fn drawn(name: &str) -> NewToken {
    let mut random = [0; TOKEN_RANDOM_BYTES];
    random.iter_mut().zip(name.bytes().cycle()).for_each(|(byte, of)| *byte = of);
    NewToken::of(random)
}

#[test]
fn the_table_has_one_row_for_each_operation() {
    let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    assert_eq!(EXPECTED.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
}
