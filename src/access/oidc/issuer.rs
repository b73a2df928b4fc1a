//! How an issuer is asked for its keys.

use crate::causes::causes;
use crate::limits::JWKS_BYTES_MAX;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Deserialize;
use std::time::Duration;

/// How long an issuer has to answer one request, in milliseconds.
const JWKS_TIMEOUT_MS: u64 = 5_000;

/// Checks that what is read from this URL cannot be changed on its way: it has to be `https`, or `http` to this machine.
///
/// # Errors
/// What is wrong, for a person.
pub fn check_url(text: &str) -> Result<(), String> {
    // The parser leaves them out, and a claim that has to be the same to the letter does not have them.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("holds a blank or a line break".to_owned());
    }
    let url: Url = text.parse().map_err(|_| "is not a URL".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password, which would be told by headroom config".to_owned());
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_local => Ok(()),
        "http" => Err("has to begin with https://: keys that are read over plain HTTP can be replaced".to_owned()),
        _ => Err("has to begin with https://".to_owned()),
    }
}

/// Asks one issuer for its keys.
pub(super) struct Fetcher {
    /// Goes by the proxies that the environment names.
    client: Client,
    /// Goes by none: what this machine says in the clear has to come from this machine.
    near: Client,
    issuer: String,
    /// The URL of the keys; `None` asks the discovery document.
    keys: Option<String>,
}

/// The part of a discovery document that is used.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Fetcher {
    /// # Errors
    /// The authorities that the system trusts cannot be read.
    pub(super) fn new(issuer: String, keys: Option<String>) -> Result<Fetcher, String> {
        let timeout = Duration::from_millis(JWKS_TIMEOUT_MS);
        // A redirect could lead from a safe URL to one that is not.
        let builder = || Client::builder().timeout(timeout).redirect(Policy::none());
        let cannot = |error: reqwest::Error| format!("cannot ask the issuer {issuer} for keys: {}", causes(&error));
        let client = builder().build().map_err(cannot)?;
        let near = builder().no_proxy().build().map_err(cannot)?;
        Ok(Fetcher { client, near, issuer, keys })
    }

    /// The text of the issuer's key set. It takes at most two times [`JWKS_TIMEOUT_MS`].
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub(super) async fn fetch(&self) -> Result<Vec<u8>, String> {
        let url = match &self.keys {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        self.get(&url).await
    }

    async fn discover(&self) -> Result<String, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let text = self.get(&url).await?;
        let found: Discovery =
            serde_json::from_slice(&text).map_err(|error| format!("{url}: it is no discovery document: {error}"))?;
        if found.issuer != self.issuer {
            return Err(format!("{url}: it is of the issuer {:?}, and not of {:?}", found.issuer, self.issuer));
        }
        check_url(&found.jwks_uri).map_err(|why| format!("{url}: its jwks_uri {:?} {why}", found.jwks_uri))?;
        Ok(found.jwks_uri)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let failed = |error: reqwest::Error| format!("{url}: {}", causes(&error.without_url()));
        // Only this machine is asked over http.
        let is_near = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
        let client = if is_near { &self.near } else { &self.client };
        let mut answer = client.get(url).send().await.map_err(failed)?;
        if answer.status() != 200 {
            return Err(format!("{url}: status {}", answer.status().as_u16()));
        }
        let mut whole = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if whole.len().saturating_add(chunk.len()) > JWKS_BYTES_MAX {
                return Err(format!("{url}: the answer has more than {JWKS_BYTES_MAX} bytes"));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_https_or_of_this_machine() {
        for good in ["https://id.example/realm", "http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:9/x"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["http://id.example", "ftp://localhost", "id.example", "", "http://127.0.0.1.example/", "file:///x"]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        // The story: a variable ended with a line break, and every JWT was said to be of another issuer.
        for bad in ["https://id.example\n", " https://id.example", "ht\ttp://127.0.0.1/x", "https://id.example/a b"] {
            assert_eq!(check_url(bad), Err("holds a blank or a line break".to_owned()), "{bad:?}");
        }
    }
}
