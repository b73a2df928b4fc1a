//! Measures what it costs a server to know a caller: by an API token, and by a JWT that it has verified before.

use crate::args::AccessArgs;
use crate::machine;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headroom::access::oidc::{Issuer, KeySource};
use headroom::access::{Access, Credentials, Principal, Role, Roles, Tokens, Ways};
use headroom::app::new_token;
use headroom::domain::Name;
use headroom::time::{Clock, Stopwatch, SystemClock};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "headroom";

/// Prints the time of one check of each kind.
///
/// # Errors
/// When a file cannot be written, or a caller is not known, which is a mistake in this module.
pub fn command(args: &AccessArgs) -> Result<bool, String> {
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    println!("command  {line}\nmachine  {}\n", machine::line());
    let dir = std::env::temp_dir().join(format!("headroom-access-{}", std::process::id()));
    std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let measured = measure(args, &dir);
    std::fs::remove_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    measured.map(|()| true)
}

fn measure(args: &AccessArgs, dir: &Path) -> Result<(), String> {
    let (tokens, keys) = (dir.join("tokens.json"), dir.join("keys.json"));
    let (file, token) = tokens_file(args.tokens)?;
    let signer = Signer::new()?;
    write(&tokens, &file)?;
    write(&keys, &signer.jwks())?;
    let issuer = Issuer {
        url: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        keys: KeySource::File(keys),
        name_claim: "sub".to_owned(),
        roles_claim: "roles".to_owned(),
        roles: [("checkout".to_owned(), Roles::of(&[Role::Checkout]))].into(),
    };
    let clock = Arc::new(SystemClock::new());
    let expires = clock.wall().0 / 1_000_000 + 86_400;
    let ways = Ways { tokens: Some(tokens), issuer: Some(issuer), ..Ways::default() };
    let access = Access::only(ways, clock)?;
    let jwts: Result<Vec<_>, _> =
        (0..args.jwts).map(|nth| signer.jwt(nth, expires, args.jwt_bytes).map(|jwt| format!("Bearer {jwt}"))).collect();
    let (jwts, token) = (jwts?, [format!("Bearer {token}")]);
    print("an API token", &access, &token, args.checks)?;
    print("a JWT for the first time", &access, &jwts, args.jwts)?;
    print("a JWT that is remembered", &access, &jwts, args.checks)?;
    println!("\n{} tokens in the file; JWTs of {} bytes, ES256", args.tokens, jwts.first().map_or(0, String::len));
    Ok(())
}

/// Checks these headers in turn, so many times in all, and prints the time of one.
fn print(what: &str, access: &Access, headers: &[String], checks: u64) -> Result<(), String> {
    let begun = Stopwatch::start();
    for (header, _) in headers.iter().cycle().zip(0..checks) {
        let credentials = Credentials { authorization: Some(header), certificate: None };
        access.principal(credentials).map_err(|denied| format!("{what}: {denied}"))?;
    }
    let each_ns = begun.elapsed().as_nanos().checked_div(u128::from(checks)).unwrap_or_default();
    println!("{what:28} {each_ns} ns, mean of {checks}");
    Ok(())
}

/// The text of a file of tokens, and one of the tokens.
fn tokens_file(count: usize) -> Result<(String, String), String> {
    let (mut tokens, mut last) = (Tokens::default(), String::new());
    let name = Name::new("checkout").map_err(|error| error.to_string())?;
    let principal = Principal { name: Some(name), roles: Roles::of(&[Role::Checkout]) };
    for _ in 0..count {
        let token = new_token();
        tokens.add(&token, principal.clone(), None)?;
        last = token.text;
    }
    Ok((tokens.render(), last))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    headroom::app::write_private(path, text, None).map_err(|error| format!("{}: {error}", path.display()))
}

/// Signs JWTs as an issuer does.
struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Result<Signer, String> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let made = made.map_err(|error| format!("cannot make a key: {error}"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        Ok(Signer { pair: pair.map_err(|error| format!("cannot read a key: {error}"))?, random })
    }

    fn jwks(&self) -> String {
        // The point is one byte that says its form, and two numbers of 32 bytes.
        let point = self.pair.public_key().as_ref();
        let [x, y] = [1..33, 33..65].map(|range| base64url(point.get(range).unwrap_or_default()));
        json!({"keys": [{"kty": "EC", "kid": "a", "crv": "P-256", "x": x, "y": y}]}).to_string()
    }

    fn jwt(&self, nth: u64, expires: u64, bytes: usize) -> Result<String, String> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "a"}).to_string();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("caller-{nth}"), "exp": expires, "roles": ["checkout"],
            // Issuers tell more than we read.
            "more": "x".repeat(bytes.saturating_sub(400) * 3 / 4),
        });
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&self.random, message.as_bytes());
        let signature = signature.map_err(|error| format!("cannot sign: {error}"))?;
        Ok(format!("{message}.{}", base64url(signature.as_ref())))
    }
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
