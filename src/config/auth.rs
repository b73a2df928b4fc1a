//! The settings that say who may call, and the checks of those that depend on each other.

use super::{Checking, Setting};
use crate::access::oidc::{Issuer, KeySource, check_url};
use crate::access::{Role, Roles};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How callers are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Auth {
    /// Anybody is served, under no name. While the setting is absent, only loopback addresses are listened on.
    Off {
        /// Whether somebody has set `auth = "none"`.
        is_written_out: bool,
    },
    /// Only callers who prove who they are in one of these ways are served.
    On(Proofs),
}

/// How a caller may prove who it is. At least one way is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proofs {
    /// By an API token of [`super::Config::tokens_file`].
    pub tokens: bool,
    /// By a JWT of this issuer.
    pub issuer: Option<Issuer>,
    /// By a client certificate that this file maps to a principal.
    pub certificates: Option<PathBuf>,
}

/// What is shown without a credential although callers have to prove who they are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Open {
    /// `/metrics`.
    pub metrics: bool,
    /// `/docs` and `/openapi.json`.
    pub docs: bool,
}

/// The ways to prove who one is, as the setting `auth` lists them.
#[derive(Clone, Copy, Default)]
struct Ways {
    tokens: bool,
    oidc: bool,
    certificates: bool,
}

/// The settings of an issuer without which none can be asked, and the others.
const OF_OIDC: [Setting; 6] = [
    Setting::OidcIssuer,
    Setting::OidcAudience,
    Setting::OidcKeys,
    Setting::OidcNameClaim,
    Setting::OidcRolesClaim,
    Setting::OidcRoles,
];

/// Who may call; `None` when a problem was noted.
pub(super) fn check(checking: &mut Checking<'_>, listen: Option<SocketAddr>) -> Option<Auth> {
    let is_written_out = checking.is_given(Setting::Auth);
    let ways = checking.optional(Setting::Auth, ways);
    let (of_oidc, certificates) = (issuer(checking), checking.optional(Setting::CertificatesFile, file));
    if is_written_out && ways.is_none() {
        return None;
    }
    let listed = ways.flatten().unwrap_or_default();
    if !listed.oidc {
        for setting in OF_OIDC {
            if checking.is_changed(setting) {
                checking.clash(setting, "is set, and auth does not list oidc");
            }
        }
    }
    if !listed.certificates {
        checking.clash(Setting::CertificatesFile, "is set, and auth does not list certificates");
    }
    let Some(ways) = ways.flatten() else {
        if !is_written_out && listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback()) {
            checking.clash(
                Setting::Listen,
                "is not a loopback address, and auth is not set: set auth to tokens, oidc or certificates, \
                 or write auth = \"none\" to serve anybody who connects",
            );
        }
        return Some(Auth::Off { is_written_out });
    };
    for (is_listed, needs) in [
        (ways.oidc, &[Setting::OidcIssuer, Setting::OidcAudience][..]),
        // Without an authority no caller is asked for a certificate, so nobody could call.
        (ways.certificates, &[Setting::CertificatesFile, Setting::TlsClientCa][..]),
    ] {
        for setting in needs {
            if is_listed && !checking.is_given(*setting) {
                checking.clash(Setting::Auth, format_args!("needs {} as well", setting.name()));
            }
        }
    }
    let issuer = if ways.oidc { Some(of_oidc?) } else { None };
    let certificates = if ways.certificates { Some(certificates?) } else { None };
    Some(Auth::On(Proofs { tokens: ways.tokens, issuer, certificates }))
}

/// The file of API tokens, whether or not they are accepted.
pub(super) fn tokens_file(checking: &mut Checking<'_>, data_dir: Option<&Path>) -> PathBuf {
    let named = checking.optional(Setting::TokensFile, file);
    named.unwrap_or_else(|| data_dir.unwrap_or(Path::new("")).join("tokens.json"))
}

/// What is open to everybody; `None` when a problem was noted.
pub(super) fn open(checking: &mut Checking<'_>) -> Option<Open> {
    if !checking.is_given(Setting::Open) {
        return Some(Open::default());
    }
    checking.optional(Setting::Open, |text| {
        let mut open = Open::default();
        for word in text.split(',') {
            match word.trim() {
                "metrics" => open.metrics = true,
                "docs" => open.docs = true,
                _ => return Err("is not a list of metrics and docs, separated by commas".to_owned()),
            }
        }
        Ok(open)
    })
}

fn issuer(checking: &mut Checking<'_>) -> Option<Issuer> {
    let url = checking.optional(Setting::OidcIssuer, url);
    let audiences = checking.optional(Setting::OidcAudience, audiences);
    let keys = checking.optional(Setting::OidcKeys, keys);
    let keys = if checking.is_given(Setting::OidcKeys) { keys } else { Some(KeySource::Discovery) };
    let name_claim = checking.setting(Setting::OidcNameClaim, claim);
    let roles_claim = checking.setting(Setting::OidcRolesClaim, claim);
    let mapped = checking.optional(Setting::OidcRoles, role_map);
    let roles = if checking.is_given(Setting::OidcRoles) { mapped } else { Some(own_names()) };
    let (url, audiences, keys) = (url?, audiences?, keys?);
    Some(Issuer { url, audiences, keys, name_claim: name_claim?, roles_claim: roles_claim?, roles: roles? })
}

/// The ways that a text lists; `None` when it is `none`.
fn ways(text: &str) -> Result<Option<Ways>, String> {
    if text == "none" {
        return Ok(None);
    }
    let mut ways = Ways::default();
    for word in text.split(',') {
        match word.trim() {
            "tokens" => ways.tokens = true,
            "oidc" => ways.oidc = true,
            "certificates" => ways.certificates = true,
            _ => return Err("is neither none nor a list of tokens, oidc and certificates, separated by commas".into()),
        }
    }
    Ok(Some(ways))
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("is empty: give the path of a file".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn url(text: &str) -> Result<String, String> {
    check_url(text).map(|()| text.to_owned())
}

fn audiences(text: &str) -> Result<Vec<String>, String> {
    let audiences: Vec<String> = text.split(',').map(|audience| audience.trim().to_owned()).collect();
    if audiences.iter().any(String::is_empty) {
        return Err("is not a list of audiences, separated by commas".to_owned());
    }
    Ok(audiences)
}

/// A URL of keys, or the path of a file.
fn keys(text: &str) -> Result<KeySource, String> {
    if text.contains("://") { url(text).map(KeySource::Url) } else { file(text).map(KeySource::File) }
}

fn claim(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty: give the name of a claim".to_owned()) } else { Ok(text.to_owned()) }
}

/// Without a mapping, the values of the claim are the names of roles.
fn own_names() -> BTreeMap<String, Roles> {
    Role::ALL.into_iter().map(|role| (role.name().to_owned(), Roles::of(&[role]))).collect()
}

/// Parses `VALUE=ROLE,...`; a value may stand there several times.
fn role_map(text: &str) -> Result<BTreeMap<String, Roles>, String> {
    let mut map: BTreeMap<String, Roles> = BTreeMap::new();
    for pair in text.split(',') {
        let parts = pair.rsplit_once('=').map(|(value, role)| (value.trim(), role.trim().parse::<Role>()));
        match parts {
            Some((value, Ok(role))) if !value.is_empty() => {
                let roles = map.entry(value.to_owned()).or_default();
                *roles = roles.iter().chain([role]).collect();
            }
            Some((_, Err(no_role))) => return Err(format!("has a part whose role is wrong: {no_role}")),
            _ => return Err("is not a list of VALUE=ROLE, separated by commas".to_owned()),
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Inputs};

    fn load(flags: &[(Setting, &str)]) -> Result<Config, String> {
        let flags = flags.iter().map(|(setting, text)| (*setting, (*text).to_owned())).collect();
        Config::load(&Inputs { flags, ..Inputs::default() }).map_err(|problems| problems.to_string())
    }

    #[test]
    fn without_auth_only_loopback_addresses_are_listened_on() {
        for local in ["127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(load(&[(Setting::Listen, local)]).unwrap().auth, Auth::Off { is_written_out: false }, "{local}");
        }
        for (address, way) in [("0.0.0.0:80", "tokens"), ("[::]:80", "none"), ("192.0.2.1:80", "tokens")] {
            let problem = load(&[(Setting::Listen, address)]).unwrap_err();
            assert!(problem.contains("flag --listen: listen is not a loopback address"), "{problem}");
            assert!(problem.contains("auth = \"none\""), "{problem}");
            assert!(load(&[(Setting::Listen, address), (Setting::Auth, way)]).is_ok(), "{address}");
        }
    }

    #[test]
    fn each_way_to_prove_who_one_is_has_its_settings() {
        let auth = |flags: &[(Setting, &str)]| load(flags).unwrap().auth;
        assert_eq!(auth(&[(Setting::Auth, "none")]), Auth::Off { is_written_out: true });
        let tokens = Auth::On(Proofs { tokens: true, issuer: None, certificates: None });
        assert_eq!(auth(&[(Setting::Auth, "tokens")]), tokens);
        let all = auth(&[
            (Setting::Auth, "tokens, oidc,certificates"),
            (Setting::OidcIssuer, "https://id.example/shop"),
            (Setting::OidcAudience, "headroom, slots"),
            (Setting::OidcRoles, "slot-admin=planner,slot-admin=viewer,cn=x=checkout"),
            (Setting::CertificatesFile, "certificates.json"),
            (Setting::TlsCertificate, "c.pem"),
            (Setting::TlsKey, "k.pem"),
            (Setting::TlsClientCa, "ca.pem"),
        ]);
        let Auth::On(Proofs { tokens: true, issuer: Some(issuer), certificates: Some(_) }) = all else {
            panic!("{all:?}")
        };
        assert_eq!((issuer.keys, &*issuer.name_claim, &*issuer.roles_claim), (KeySource::Discovery, "sub", "roles"));
        assert_eq!(issuer.audiences, ["headroom", "slots"]);
        let admin = Roles::of(&[Role::Planner, Role::Viewer]);
        assert_eq!((issuer.roles["slot-admin"], issuer.roles["cn=x"]), (admin, Roles::of(&[Role::Checkout])));
    }

    #[test]
    fn every_problem_of_auth_is_told_at_once() {
        let problems = load(&[
            (Setting::Auth, "oidc,certificates"),
            (Setting::OidcIssuer, "http://id.example"),
            (Setting::OidcKeys, "http://id.example/keys"),
            (Setting::OidcRoles, "a=admin"),
            (Setting::Open, "metrics,everything"),
        ]);
        let problems = problems.unwrap_err();
        for part in [
            "has 7 problems",
            "--oidc-issuer: oidc_issuer = \"http://id.example\" has to begin with https://",
            "--oidc-keys: oidc_keys = \"http://id.example/keys\" has to begin with https://",
            "--oidc-roles: oidc_roles = \"a=admin\" has a part whose role is wrong: it has to be one of",
            "--auth: auth needs oidc_audience as well",
            "--auth: auth needs certificates_file as well",
            "--auth: auth needs tls_client_ca as well",
            "--open: open = \"metrics,everything\" is not a list of metrics and docs",
        ] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        let unused =
            load(&[(Setting::OidcIssuer, "https://id.example"), (Setting::CertificatesFile, "x")]).unwrap_err();
        assert!(unused.contains("oidc_issuer is set, and auth does not list oidc"), "{unused}");
        assert!(unused.contains("certificates_file is set, and auth does not list certificates"), "{unused}");
        for bad in ["", "token", "tokens,", "none,tokens", "tokens;oidc"] {
            assert!(load(&[(Setting::Auth, bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_open_is_listed() {
        assert_eq!(load(&[]).unwrap().open, Open::default());
        assert_eq!(load(&[(Setting::Open, "docs")]).unwrap().open, Open { metrics: false, docs: true });
        assert_eq!(load(&[(Setting::Open, "metrics, docs")]).unwrap().open, Open { metrics: true, docs: true });
    }
}
