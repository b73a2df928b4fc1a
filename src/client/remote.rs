//! A server anywhere, called over HTTP or HTTPS: one call at a time, for a person or a script.
//!
//! A token leaves this machine only inside TLS. Redirects are not followed, and proxies of the environment are not used:
//! either would hand a token, or a command, to somebody who was not named.

use super::{Answer, CallError, Outgoing, answer, bearer};
use crate::causes::causes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Request, Url};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Longest wait for a connection, with its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a caller proves who it is, and whom it believes.
#[derive(Clone, Copy, Default)]
pub struct Proofs<'a> {
    /// A token that is sent with every call.
    pub token: Option<&'a str>,
    /// Certificates of authorities in PEM: they, and not those that the system trusts, vouch for the server.
    pub authorities: Option<&'a [u8]>,
    /// The client's certificate, and its private key in PKCS #8; both in PEM.
    pub certificate: Option<(&'a [u8], &'a [u8])>,
}

/// A server, and how to call it.
pub struct Remote {
    http: Client,
    /// Ends without a slash.
    base: String,
    authorization: Option<HeaderValue>,
}

impl Remote {
    /// The server at `url`.
    ///
    /// # Errors
    /// The URL, the token or a certificate is not one, or the token would leave this machine unencrypted. No error repeats
    /// a secret.
    pub fn new(url: &str, proofs: Proofs<'_>) -> Result<Remote, String> {
        Remote::at(url, None, proofs)
    }

    /// A server at each address that the name in `url` has, with the URL and the address for messages.
    ///
    /// # Errors
    /// Those of [`Remote::new`], and a name that has no address.
    pub fn each(url: &str, proofs: Proofs<'_>) -> Result<Vec<(Remote, String)>, String> {
        let parsed = base(url)?;
        // This machine is one server, whatever addresses its name has.
        let name = parsed.domain().filter(|_| !is_loopback(&parsed));
        let (Some(name), Some(port)) = (name, parsed.port_or_known_default()) else {
            return Ok(vec![(Remote::new(url, proofs)?, url.to_owned())]);
        };
        let found = (name, port).to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        let addresses: BTreeSet<SocketAddr> = found.collect();
        let at = |address| Ok((Remote::at(url, Some((name, address)), proofs)?, format!("{url} at {}", address.ip())));
        addresses.into_iter().map(at).collect()
    }

    fn at(
        url: &str,
        resolved: Option<(&str, SocketAddr)>,
        Proofs { token, authorities, certificate }: Proofs<'_>,
    ) -> Result<Remote, String> {
        let parsed = base(url)?;
        if token.is_some() && parsed.scheme() == "http" && !is_loopback(&parsed) {
            return Err(format!("{url}: a token is sent to another machine by https:// only"));
        }
        let authorization = token.map(bearer).transpose()?;
        let mut builder = Client::builder().redirect(Policy::none()).no_proxy().connect_timeout(CONNECT_TIMEOUT);
        if let Some((name, address)) = resolved {
            builder = builder.resolve(name, address);
        }
        if let Some(pem) = authorities {
            let cannot = |error| format!("the certificates of the authorities cannot be read: {}", causes(&error));
            let certificates = Certificate::from_pem_bundle(pem).map_err(cannot)?;
            if certificates.is_empty() {
                return Err("the file of the authorities holds no certificate in PEM".to_owned());
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let Some((pem, key)) = certificate {
            let identity = Identity::from_pkcs8_pem(pem, key);
            builder =
                builder.identity(identity.map_err(|error| {
                    format!("the client's certificate and its key cannot be read: {}", causes(&error))
                })?);
        }
        let http = builder.build().map_err(|error| causes(&error))?;
        Ok(Remote { http, base: parsed.as_str().trim_end_matches('/').to_owned(), authorization })
    }

    /// Sends a request on a connection of its own or on an idle one, and waits for the whole answer. `within` counts from
    /// when there is a connection.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: Outgoing, within: Duration) -> Result<Answer, CallError> {
        let all = CONNECT_TIMEOUT + within;
        tokio::time::timeout(all, self.exchange(request)).await.unwrap_or(Err(CallError::GaveUp))
    }

    async fn exchange(&self, request: Outgoing) -> Result<Answer, CallError> {
        let response = self.http.execute(self.addressed(request)?).await;
        let response = response.map_err(|error| {
            let why = causes(&error);
            if error.is_connect() || error.is_builder() { CallError::NotSent(why) } else { CallError::Broken(why) }
        })?;
        answer(response.into()).await
    }

    fn addressed(&self, request: Outgoing) -> Result<Request, CallError> {
        let (head, body) = request.into_parts();
        let url = format!("{}{}", self.base, head.uri);
        let url = Url::parse(&url).map_err(|error| CallError::NotSent(format!("{url}: {error}")))?;
        let mut addressed = Request::new(head.method, url);
        *addressed.headers_mut() = head.headers;
        if let Some(authorization) = &self.authorization {
            addressed.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        *addressed.body_mut() = body.into_inner().map(Into::into);
        Ok(addressed)
    }
}

/// The URL of a server: a scheme, a host, and perhaps a port.
fn base(url: &str) -> Result<Url, String> {
    if url.contains('@') {
        // The text is not repeated: it may hold a password, also when it is no URL.
        return Err("the URL of a server holds no user and no password: give a token".to_owned());
    }
    let parsed = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let wrong = match parsed.scheme() {
        "http" | "https" if parsed.path() != "/" || parsed.query().is_some() || parsed.fragment().is_some() => {
            "the URL of a server ends after its port"
        }
        "http" | "https" => return Ok(parsed),
        _ => "it has to begin with https:// or http://",
    };
    Err(format!("{url}: {wrong}"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, token: Option<&str>, authorities: Option<&[u8]>) -> String {
        Remote::new(url, Proofs { token, authorities, certificate: None }).err().unwrap_or_default()
    }

    #[test]
    fn a_url_names_a_server_and_nothing_else() {
        for good in ["http://127.0.0.1:8080", "https://headroom.example/", "http://[::1]:7", "http://headroom:80"] {
            assert_eq!(refused(good, None, None), "", "{good}");
        }
        for (bad, why) in [
            ("headroom.example:8080", "has to begin with https://"),
            ("127.0.0.1:8080", "relative URL without a base"),
            ("https://headroom.example/v1", "ends after its port"),
            ("https://headroom.example/?a", "ends after its port"),
            ("https://me:secret-word@headroom.example", "no user and no password"),
        ] {
            let said = refused(bad, None, None);
            assert!(said.contains(why) && !said.contains("secret-word"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_token_leaves_the_machine_only_inside_tls() {
        for url in ["https://headroom.example", "http://localhost:8080", "http://127.8.8.8", "http://[::1]:7"] {
            assert_eq!(refused(url, Some("hr_token"), None), "", "{url}");
        }
        for url in ["http://headroom.example", "http://10.0.0.1:8080", "http://localhost.example"] {
            assert!(refused(url, Some("hr_token"), None).contains("by https:// only"), "{url}");
        }
        let said = refused("https://headroom.example", Some("hr_\ntoken"), None);
        assert!(!said.is_empty() && !said.contains("hr_"), "{said}");
    }

    #[test]
    fn authorities_are_certificates() {
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(!refused("https://headroom.example", None, Some(text.as_bytes())).is_empty(), "{text}");
        }
    }
}
