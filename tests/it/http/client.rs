//! A caller that sends exactly the bytes it is told to, and takes no answer that is not as described.

use crate::openapi_check::{self, Asked};
use crate::server::Server;
use crate::wait::PATIENCE;
use headroom::api::problem;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

impl Server {
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A pool with this limit of `orders`.
    pub fn pool(&self, id: &str, orders: u64) {
        let answer = self.client().send(
            "PUT",
            &format!("/v1/pools/{id}"),
            &[],
            &format!("{{\"limits\":{{\"orders\":{orders}}}}}"),
        );
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The problem's code; checks what every problem has.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert_eq!(body["type"], format!("urn:headroom:problem:{code}"), "{self:?}");
        assert_eq!(body["trace_id"].as_str(), self.header("x-request-id"), "{self:?}");
        let row = problem::cases().into_iter().find(|case| case.code == code && case.status == self.status);
        let row = row.unwrap_or_else(|| panic!("no row of the table: {self:?}"));
        let told = (body["title"].as_str(), body["outcome"].as_str(), body["retryable"].as_bool());
        assert_eq!(told, (Some(row.title), Some(row.outcome.code()), Some(row.is_retryable)), "{self:?}");
        // A title, or a name alone, says neither with which value nor what to do.
        let detail = body["detail"].as_str().unwrap();
        assert!(detail != row.title && detail.split(' ').count() > 5 && !detail.ends_with('.'), "{self:?}");
        assert_eq!(
            matches!(self.status, 429 | 503) && row.is_retryable,
            self.header("retry-after").is_some(),
            "{self:?}"
        );
        code
    }

    /// The body, with what differs from run to run blotted out.
    pub fn golden(&self) -> String {
        let mut text = self.body.clone();
        for name in ["digest", "hold_until", "trace_id"] {
            let start = format!("\"{name}\":\"");
            if let Some(at) = text.find(&start).map(|at| at + start.len()) {
                let end = at + text[at..].find('"').unwrap();
                text.replace_range(at..end, "*");
            }
        }
        if let Some((before, after)) = text.split_once("\"staleness_ms\":") {
            text = format!("{before}\"staleness_ms\":*{}", after.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        text
    }
}

/// How a connection may end, but for the regular way. The last one is an alert of TLS.
const IS_END: [io::ErrorKind; 3] =
    [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData];

type Tls = StreamOwned<ClientConnection, TcpStream>;

enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Stream {
    fn bytes(&mut self) -> &mut dyn ReadWrite {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &mut **stream,
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// One connection to a server, kept open between requests.
pub struct Client {
    stream: Stream,
    unread: Vec<u8>,
    /// What was sent and is not answered yet.
    asked: VecDeque<Asked>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::reach(address).unwrap()
    }

    /// A connection, if somebody listens there.
    pub fn reach(address: SocketAddr) -> io::Result<Client> {
        Client::over(address, |stream| Ok(Stream::Plain(stream)))
    }

    /// A connection over TLS, with its handshake done.
    pub fn secure(address: SocketAddr, tls: &Arc<ClientConfig>) -> io::Result<Client> {
        Client::over(address, |mut stream| {
            let name = ServerName::try_from("localhost").unwrap();
            let mut session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
            while session.is_handshaking() {
                session.complete_io(&mut stream)?;
            }
            Ok(Stream::Tls(Box::new(StreamOwned::new(session, stream))))
        })
    }

    fn over(address: SocketAddr, speak: impl FnOnce(TcpStream) -> io::Result<Stream>) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = speak(stream)?;
        Ok(Client { stream, unread: Vec::new(), asked: VecDeque::new() })
    }

    pub fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    pub fn post(&mut self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[], body)
    }

    /// A request as callers send it.
    pub fn send(&mut self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        self.raw(&request(method, path, headers, body.as_bytes()))
    }

    /// These bytes, then what is answered.
    pub fn raw(&mut self, bytes: &[u8]) -> Reply {
        self.write(bytes);
        self.read().unwrap_or_else(|| panic!("no answer to {:?}", String::from_utf8_lossy(bytes)))
    }

    /// These bytes; that the other side has stopped listening shows in what is read.
    pub fn write(&mut self, bytes: &[u8]) {
        self.asked.extend(Asked::all_in(bytes));
        let _ = self.stream.bytes().write_all(bytes);
    }

    /// The next answer; `None` when the connection ends first.
    pub fn read(&mut self) -> Option<Reply> {
        let end = self.read_until(|unread| unread.windows(4).position(|w| w == b"\r\n\r\n"))?;
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<_, _> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
        self.read_until(|unread| (unread.len() >= length).then_some(0))?;
        let body = String::from_utf8(self.unread.drain(..length).collect()).unwrap();
        let reply = Reply { status, headers, body };
        // Who is told to go on has his answer still to come.
        if status >= 200 {
            openapi_check::check(self.asked.pop_front().as_ref(), &reply);
        }
        Some(reply)
    }

    /// The session, when TLS is spoken.
    pub fn session(&self) -> Option<&ClientConnection> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(&stream.conn),
        }
    }

    /// Waits until the other side ends the connection.
    pub fn ended(mut self) {
        assert_eq!(self.read().map(|reply| reply.body), None);
    }

    pub fn half_close(&self) {
        match &self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Tls(stream) => stream.sock.shutdown(Shutdown::Write).unwrap(),
        }
    }

    fn read_until<T>(&mut self, done: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(answer) = done(&self.unread) {
                return Some(answer);
            }
            match self.stream.bytes().read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
                Err(error) if IS_END.contains(&error.kind()) => return None,
                Err(error) => panic!("no answer and no end: {error}"),
            }
        }
    }
}

/// A request's bytes. A body is JSON unless a header says otherwise.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() && !headers.iter().any(|header| header.to_ascii_lowercase().starts_with("content-type:")) {
        text.push_str("Content-Type: application/json\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
