//! The HTTP client that the command line, the demonstration and the load test share, and what they build on it: pools
//! made in bulk, the audit of a running server, its log read page by page, and a temporary directory of a tool's own.
//!
//! Two things carry a request, and both take an [`Outgoing`] and give an [`Answer`]:
//!
//! - A [`Connection`] is one keep-alive HTTP/1.1 connection to the loopback, for tools that make very many calls: the load
//!   test, the demonstration, the audit. It is made of hyper's connection and nothing else. The generator shares the
//!   machine with the server that it measures, so each call may cost only some microseconds; and every caller there has a
//!   connection of its own, which a pool of connections would take away. Over TLS it believes the one certificate that it
//!   is told.
//! - A [`Remote`](remote::Remote) is reqwest, for a person or a script that calls a server anywhere (`headroom client`).
//!   TLS, certificates, names of hosts and addresses to try are reqwest's work.
//!
//! Neither measures anything, follows redirects, uses a proxy, or repeats a request that may have been sent: the caller
//! judges what a failure means.

pub mod inspect;
pub mod internal;
pub mod pools;
pub mod remote;
pub mod reserve_answer;
pub mod running;
pub mod scratch;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
pub use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_MATCH, RETRY_AFTER};
pub use hyper::{Method, Uri};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;

/// Longest answer taken, in bytes: some pages of the log.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Longest wait for an answer of `/readyz`.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between two such requests.
const READY_LOOK_EVERY: Duration = Duration::from_millis(20);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("request-timeout-ms");
const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// A request with its whole body.
pub type Outgoing = Request<Full<Bytes>>;

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Whether it has the header `Idempotent-Replayed`: an earlier request with this key had the same answer.
    pub is_replayed: bool,
    /// The header `Retry-After`: seconds after which the same request may succeed.
    pub retry_after_s: Option<u64>,
    /// The whole body.
    pub body: Bytes,
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// The request was never sent: the server has not seen it.
    NotSent(String),
    /// The request was sent, and no whole answer came: its outcome is not known.
    Broken(String),
    /// The request may have been sent, and no answer came within the time limit.
    GaveUp,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NotSent(why) => write!(f, "the request cannot be sent: {why}"),
            CallError::Broken(why) => write!(f, "the connection broke: {why}"),
            CallError::GaveUp => f.write_str("no answer within the time limit"),
        }
    }
}

impl std::error::Error for CallError {}

/// What carries a request to a server.
pub trait Calls {
    /// Sends a request and waits for the whole answer, at most for this time.
    ///
    /// # Errors
    /// [`CallError`].
    fn carry(&mut self, request: Outgoing, within: Duration) -> impl Future<Output = Result<Answer, CallError>>;
}

impl Calls for Connection {
    fn carry(&mut self, request: Outgoing, within: Duration) -> impl Future<Output = Result<Answer, CallError>> {
        self.call(request, within)
    }
}

/// A connection to one address. It is opened at its first use, and again after the server has closed it.
pub struct Connection {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Clone for Connection {
    /// Another connection to the same server for the same caller, not open yet.
    fn clone(&self) -> Connection {
        let (host, authorization) = (self.host.clone(), self.authorization.clone());
        Connection { address: self.address, tls: self.tls.clone(), host, authorization, sender: None }
    }
}

impl Connection {
    /// A connection that is not open yet.
    pub fn new(address: SocketAddr) -> Connection {
        let host = HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("localhost"));
        Connection { address, tls: None, host, authorization: None, sender: None }
    }

    /// Adds a token, with which every request is sent.
    ///
    /// # Errors
    /// The text has a character that no token has. The error does not repeat the text.
    pub fn with_token(self, token: &str) -> Result<Connection, String> {
        Ok(Connection { authorization: Some(bearer(token)?), ..self })
    }

    /// The same over TLS; `tls` says which server is believed.
    pub fn secure(address: SocketAddr, tls: Arc<ClientConfig>) -> Connection {
        Connection { tls: Some(tls), ..Connection::new(address) }
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and waits for the whole answer. `within` limits all of it, connecting included.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&mut self, request: Outgoing, within: Duration) -> Result<Answer, CallError> {
        let ended = tokio::time::timeout(within, self.exchange(request)).await.unwrap_or(Err(CallError::GaveUp));
        if ended.is_err() {
            // A late answer would be taken for that of the next request.
            self.sender = None;
        }
        ended
    }

    async fn exchange(&mut self, mut request: Outgoing) -> Result<Answer, CallError> {
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        // The server may close an idle connection just before a request is written to it. Then, and only then, the
        // request is sent on a new connection.
        let mut why = String::new();
        for _ in 0..2 {
            let sender = self.open().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return answer(response).await,
                Err(mut error) => {
                    self.sender = None;
                    why = error.error().to_string();
                    request = error.take_message().ok_or_else(|| CallError::Broken(why.clone()))?;
                }
            }
        }
        Err(CallError::NotSent(why))
    }

    async fn open(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, CallError> {
        let is_usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_usable {
            self.sender = Some(connect(self.address, self.tls.as_ref()).await.map_err(CallError::NotSent)?);
        }
        self.sender.as_mut().ok_or_else(|| CallError::NotSent("no connection".to_owned()))
    }
}

async fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    match tls {
        None => speak(stream).await,
        Some(tls) => {
            let name = ServerName::IpAddress(address.ip().into());
            let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
            speak(stream.map_err(|e| format!("{address}: {e}"))?).await
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // The task ends when the sender is dropped or the server closes. The sender reports the error.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

async fn answer<B>(response: Response<B>) -> Result<Answer, CallError>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let status = response.status().as_u16();
    let is_replayed = response.headers().contains_key(IDEMPOTENT_REPLAYED);
    let retry_after_s = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|e| CallError::Broken(e.to_string()))?.to_bytes();
    Ok(Answer { status, is_replayed, retry_after_s, body })
}

/// A request without a body.
pub fn bare(method: Method, path: Uri) -> Outgoing {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = path;
    request
}

/// A request with a JSON body.
pub fn json(method: Method, path: Uri, body: impl Into<Bytes>) -> Outgoing {
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = method;
    *request.uri_mut() = path;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request
}

/// The same request under an Idempotency-Key.
pub fn keyed(mut request: Outgoing, key: &str) -> Outgoing {
    if let Ok(key) = HeaderValue::from_str(key) {
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
    }
    request
}

/// The same request with a deadline, in milliseconds from when the server reads it.
pub fn timed(mut request: Outgoing, timeout_ms: u64) -> Outgoing {
    request.headers_mut().insert(REQUEST_TIMEOUT_MS, HeaderValue::from(timeout_ms));
    request
}

/// The same request for a pool that has this ETag: a version in double quotes, or `*`.
pub fn matching(mut request: Outgoing, etag: &str) -> Outgoing {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        request.headers_mut().insert(IF_MATCH, etag);
    }
    request
}

/// The Authorization header that carries this token.
fn bearer(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| "the token has a character that no token has".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether `/readyz` answers 200.
pub async fn is_ready(server: &mut Connection) -> bool {
    let Ok(path) = path("/readyz") else { return false };
    server.call(bare(Method::GET, path), READY_TIMEOUT).await.is_ok_and(|answer| answer.status == 200)
}

/// Waits until `/readyz` answers 200.
///
/// # Errors
/// It does not within this time.
pub async fn ready(server: &mut Connection, within: Duration) -> Result<(), String> {
    let until = Instant::now() + within;
    while !is_ready(server).await {
        if Instant::now() > until {
            return Err(format!("the server at {} is not ready after {} s", server.address, within.as_secs()));
        }
        sleep_until(Instant::now() + READY_LOOK_EVERY).await;
    }
    Ok(())
}

/// A path and query of the API.
///
/// # Errors
/// The text is no URI.
pub fn path(text: &str) -> Result<Uri, String> {
    Uri::try_from(text).map_err(|e| format!("{text}: {e}"))
}

/// The loopback address that a URL such as `http://127.0.0.1:8080` names. The tools make load and write pools, so they
/// call no other machine.
///
/// # Errors
/// The URL is not http, or its host is not an address of the loopback.
pub fn loopback(url: &str) -> Result<SocketAddr, String> {
    let uri = Uri::try_from(url).map_err(|e| format!("{url}: {e}"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("{url}: only http:// is supported"));
    }
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
    let ip = match host.trim_matches(['[', ']']) {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => text
            .parse::<IpAddr>()
            .map_err(|_| format!("{url}: {text} is neither localhost nor an IP address of the loopback"))?,
    };
    if ip.is_loopback() {
        Ok(SocketAddr::new(ip, port))
    } else {
        Err(format!("{url}: {ip} is not an address of the loopback"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_is_called() {
        let cases = [
            ("http://127.0.0.1:8080", Ok("127.0.0.1:8080")),
            ("http://localhost:9/", Ok("127.0.0.1:9")),
            ("http://[::1]:7", Ok("[::1]:7")),
            ("https://127.0.0.1:1", Err(())),
            ("http://10.0.0.1:8080", Err(())),
            ("http://example.org", Err(())),
            ("http://0.0.0.0:80", Err(())),
            ("127.0.0.1:8080", Err(())),
        ];
        for (url, expected) in cases {
            let got = loopback(url).map(|a| a.to_string()).map_err(|_| ());
            assert_eq!(got, expected.map(str::to_owned), "{url}");
        }
    }
}
