//! Stores over HTTP, each a process of its own with one bucket: Moto and MinIO for S3, fake-gcs-server for Google Cloud Storage,
//! and Azurite for Azure.

use crate::process::{Running, foreign_agent};
use crate::wait::until;
use headroom::config::object_place;
use headroom::domain::Micros;
use headroom::objects;
use headroom::time::{Clock, SystemClock, pause, text};
use openssl::base64::{decode_block, encode_block};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use ureq::http::Response;
use ureq::{Body, RequestBuilder};

/// What Azurite knows of the account that it has. Its makers publish both.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The password of MinIO, which takes none that is shorter.
const MINIO_SECRET: &str = "secret-of-the-store";

/// A kind of store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Moto, which speaks S3 and does not look who asks.
    S3,
    /// MinIO, which speaks S3 and looks.
    Minio,
    Google,
    Azure,
}

/// The directory of what a script fetches.
pub fn fetched(script: &str) -> PathBuf {
    let mut fetch = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
    let output = fetch.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script} failed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn moto() -> &'static Path {
    static MOTO: OnceLock<PathBuf> = OnceLock::new();
    MOTO.get_or_init(|| fetched("tests/s3/fetch"))
}

fn clouds() -> &'static Path {
    static CLOUDS: OnceLock<PathBuf> = OnceLock::new();
    CLOUDS.get_or_init(|| fetched("tests/clouds/fetch"))
}

/// Names the store that speaks S3 at this URL to a command.
pub fn at(command: &mut Command, url: &str) {
    command.env("AWS_ENDPOINT_URL", url).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
}

/// A place of the store that was named to a command, as the program opens it.
pub fn opened(place: &str, named: &Command) -> objects::Bucket {
    let variables = named.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()));
    objects::Bucket::open_with(&object_place(place).unwrap(), variables).unwrap()
}

/// The HMAC-SHA256 of a text.
fn keyed_hash(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(text.as_bytes()).unwrap()
}

/// What lets somebody who is not the program do everything with the account of Azurite, as the query of a URL.
fn shared_access() -> String {
    let said = [ACCOUNT, "rwdlac", "b", "sco", "", "2099-01-01", "", "", "2019-12-12", ""].join("\n");
    let signature = encode_block(&keyed_hash(&decode_block(ACCOUNT_KEY).unwrap(), &said));
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv=2019-12-12&ss=b&srt=sco&sp=rwdlac&se=2099-01-01&sig={signature}")
}

/// The policy of a bucket that everybody may read and write.
fn everybody() -> String {
    let may = ["s3:GetObject", "s3:PutObject", "s3:ListBucket"];
    let on = ["arn:aws:s3:::lake", "arn:aws:s3:::lake/*"];
    let statement = json!({ "Effect": "Allow", "Principal": { "AWS": ["*"] }, "Action": may, "Resource": on });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

pub struct Bucket {
    store: Running,
    kind: Kind,
    port: u16,
    /// What the store keeps on a disk.
    _dir: TempDir,
}

impl Bucket {
    /// A store that speaks S3.
    pub fn start() -> Bucket {
        Bucket::of(Kind::S3)
    }

    pub fn of(kind: Kind) -> Bucket {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (address, port_text) = (format!("127.0.0.1:{port}"), port.to_string());
        let dir = tempfile::tempdir().unwrap();
        let mut serve = match kind {
            Kind::Minio => {
                let mut serve = Command::new(clouds().join("minio"));
                serve.args(["server", "--address", &address]).arg(dir.path());
                serve.envs([("MINIO_ROOT_USER", "key"), ("MINIO_ROOT_PASSWORD", MINIO_SECRET)]);
                serve.envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")]);
                serve
            }
            Kind::S3 => {
                let mut serve = Command::new(moto().join("bin/python"));
                serve.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/serve")).arg(&port_text);
                serve
            }
            Kind::Google => {
                let mut serve = Command::new(clouds().join("google"));
                serve.arg(&address);
                serve
            }
            Kind::Azure => {
                let mut serve = Command::new(clouds().join("node_modules/.bin/azurite-blob"));
                serve.args(["--inMemoryPersistence", "--silent", "--disableTelemetry", "--blobPort", &port_text]);
                // A client that stands still for seconds finds its connections as it left them.
                serve.args(["--blobKeepAliveTimeout", "600"]);
                serve
            }
        };
        let bucket = Bucket { store: Running::start(serve.stdin(Stdio::null())), kind, port, _dir: dir };
        let reader = bucket.reader();
        until("the store answers", || reader.is_made());
        bucket
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The bucket with a prefix, as a setting names it.
    pub fn place(&self) -> &'static str {
        match self.kind {
            Kind::S3 | Kind::Minio => "s3://lake/some/place",
            Kind::Google => "gs://lake/some/place",
            Kind::Azure => "az://lake/some/place",
        }
    }

    /// Names the store to a command.
    pub fn named(&self, command: &mut Command) {
        let url = format!("http://127.0.0.1:{}", self.port);
        match self.kind {
            Kind::S3 => at(command, &url),
            Kind::Minio => {
                at(command, &url);
                command.env("AWS_SECRET_ACCESS_KEY", MINIO_SECRET);
            }
            Kind::Google => {
                command
                    .env("GOOGLE_BASE_URL", url)
                    .env("GOOGLE_ALLOW_HTTP", "true")
                    .env("GOOGLE_BEARER_TOKEN", "token");
            }
            Kind::Azure => {
                command.env("AZURE_STORAGE_ENDPOINT", format!("{url}/{ACCOUNT}")).env("AZURE_ALLOW_HTTP", "true");
                command.env("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT).env("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY);
            }
        }
    }

    /// The place, as the program opens it.
    pub fn opened(&self) -> objects::Bucket {
        let mut named = Command::new("");
        self.named(&mut named);
        opened(self.place(), &named)
    }

    /// The URL of another way to the store, on which each connection carries so many bytes a second to it.
    pub fn slow_way(&self, bytes_per_second: u32) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(store) = TcpStream::connect(store) else { continue };
                let ends = |stream: &TcpStream| stream.try_clone().unwrap();
                let (mut from, mut to) = (ends(&client), ends(&store));
                // Whoever leaves ends the connection.
                std::thread::spawn(move || {
                    let mut part = [0; 4096];
                    while let Ok(read @ 1..) = from.read(&mut part) {
                        pause(Duration::from_secs(read as u64) / bytes_per_second);
                        if to.write_all(&part[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut from, mut to) = (store, client);
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        });
        url
    }

    /// Another way to the store, on which it has no room until that is set: what is written is refused as a full store does it,
    /// and what is there can be read.
    pub fn full_way(&self) -> (String, Arc<AtomicBool>) {
        self.refusing_way(empty("507 Insufficient Storage"))
    }

    /// Another way to the store, on which nothing is written and everything read until writing is allowed. Until then a write is
    /// answered so.
    pub fn refusing_way(&self, answer: Vec<u8>) -> (String, Arc<AtomicBool>) {
        self.refusing_way_to("", answer)
    }

    /// The same, where those writes alone are answered so that are of objects in whose paths this stands.
    pub fn refusing_way_to(&self, part: &'static str, answer: Vec<u8>) -> (String, Arc<AtomicBool>) {
        let store = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let is_allowed = Arc::new(AtomicBool::new(false));
        let is_taken = Arc::clone(&is_allowed);
        let url = answering(move |head, body, client| {
            let mut words = head.split(' ');
            let is_write = matches!(words.next(), Some("PUT" | "POST"));
            if is_write && words.next().is_some_and(|path| path.contains(part)) && !is_taken.load(Relaxed) {
                return client.write_all(&answer);
            }
            let mut store = TcpStream::connect(store)?;
            store.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
            store.write_all(body)?;
            io::copy(&mut store, client).map(drop)
        });
        (url, is_allowed)
    }

    /// Whoever wrote a partition last is said to have ended, as time would say. A position that changes meanwhile is left alone.
    pub fn writers_are_gone(&self) {
        let reader = self.reader();
        for (name, _) in self.objects("positions").into_iter().filter(|(name, _)| name.ends_with(".json")) {
            reader.changed(&name, |bytes| {
                let mut position: Value = serde_json::from_slice(bytes).unwrap();
                position["writer"] = Value::Null;
                position.to_string().into_bytes()
            });
        }
    }

    /// Whoever has shown that it writes is said to have ended, as time would say.
    pub fn signs_are_gone(&self) {
        let signs = self.objects("positions").into_iter().filter(|(name, _)| name.starts_with("positions/writer-"));
        signs.for_each(|(name, _)| self.reader().put(&name, b"left"));
    }

    /// The store answers nobody until it is to go on.
    pub fn stands_still(&self) {
        signal(&self.store, Signal::STOP);
    }

    pub fn goes_on(&self) {
        signal(&self.store, Signal::CONT);
    }

    /// Every object under a folder of the place, with its name there.
    pub fn objects(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let objects = self.reader().beginning_with(&format!("lake/some/place/{folder}/")).into_iter();
        objects.map(|(key, bytes)| (key.strip_prefix("some/place/").unwrap().to_owned(), bytes)).collect()
    }

    /// Somebody else who reads and writes it.
    pub fn reader(&self) -> Reader {
        let (kind, port) = (self.kind, self.port);
        let url = match kind {
            Kind::Azure => format!("http://127.0.0.1:{port}/{ACCOUNT}/lake"),
            Kind::S3 | Kind::Minio | Kind::Google => format!("http://127.0.0.1:{port}/lake"),
        };
        Reader { kind, url, access: if kind == Kind::Azure { shared_access() } else { String::new() } }
    }
}

#[derive(Clone)]
pub struct Reader {
    kind: Kind,
    url: String,
    access: String,
}

impl Reader {
    /// Makes the bucket, once the store answers.
    fn is_made(&self) -> bool {
        match self.kind {
            Kind::S3 => foreign_agent().put(&self.url).send_empty().is_ok_and(|made| made.status() == 200),
            Kind::Minio => {
                let made = self.signed("", "").is_ok_and(|made| matches!(made.status().as_u16(), 200 | 409));
                made && self.signed("policy=", &everybody()).is_ok_and(|let_in| let_in.status() == 204)
            }
            // It is made by the program itself.
            Kind::Google => foreign_agent().get(&self.url).call().is_ok_and(|found| found.status() == 200),
            Kind::Azure => {
                let url = format!("{}?restype=container&{}", self.url, self.access);
                foreign_agent().put(url).send_empty().is_ok_and(|made| made.status() == 201)
            }
        }
    }

    /// A `PUT` to the bucket by its owner, signed as S3 asks for it.
    fn signed(&self, query: &str, body: &str) -> Result<Response<Body>, ureq::Error> {
        let host = self.url.strip_prefix("http://").unwrap().strip_suffix("/lake").unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let hash = |text: &str| hex(&openssl::hash::hash(MessageDigest::sha256(), text.as_bytes()).unwrap());
        // As 20261129T131800Z.
        let whole_seconds = Micros(SystemClock::new().wall().0 / 1_000_000 * 1_000_000);
        let at: String = text(whole_seconds).chars().filter(char::is_ascii_alphanumeric).collect();
        let (day, of_body) = (&at[..8], hash(body));
        let headers = format!("host:{host}\nx-amz-content-sha256:{of_body}\nx-amz-date:{at}\n");
        let names = "host;x-amz-content-sha256;x-amz-date";
        let (request, scope) =
            (format!("PUT\n/lake\n{query}\n{headers}\n{names}\n{of_body}"), format!("{day}/us-east-1/s3/aws4_request"));
        let key = format!("AWS4{MINIO_SECRET}").into_bytes();
        let key = [day, "us-east-1", "s3", "aws4_request"].into_iter().fold(key, |key, part| keyed_hash(&key, part));
        let signature = hex(&keyed_hash(&key, &format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hash(&request))));
        let says = format!("AWS4-HMAC-SHA256 Credential=key/{scope}, SignedHeaders={names}, Signature={signature}");
        let put = foreign_agent().put(format!("{}?{query}", self.url)).header("authorization", says);
        put.header("x-amz-content-sha256", of_body).header("x-amz-date", at).send(body)
    }

    /// A request of somebody whom the store knows. Who says to S3 who he is may do everything; nobody looks whether it is true.
    fn known<T>(&self, request: RequestBuilder<T>) -> RequestBuilder<T> {
        if self.kind == Kind::S3 { request.header("authorization", "AWS key:secret") } else { request }
    }

    /// What is there; `None` where nothing is.
    fn get(&self, path: &str, query: &str) -> Option<Vec<u8>> {
        let query = [query, &self.access].map(str::to_owned).into_iter().filter(|part| !part.is_empty());
        let url = format!("{}{path}?{}", self.url, query.collect::<Vec<_>>().join("&"));
        let mut answer = self.known(foreign_agent().get(&url)).call().unwrap();
        if answer.status() == 404 {
            return None;
        }
        assert_eq!(answer.status(), 200, "{url}");
        Some(answer.body_mut().read_to_vec().unwrap())
    }

    /// Writes an object under a name within the place.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let url = format!("{}/some/place/{name}?{}", self.url, self.access);
        let put = self.known(foreign_agent().put(&url));
        let put = put.header("x-ms-blob-type", "BlockBlob").header("content-type", "application/octet-stream");
        let status = put.send(bytes).unwrap().status().as_u16();
        assert!(matches!(status, 200 | 201), "{status}: {url}");
    }

    /// Changes an object within the place, unless somebody else does so meanwhile. The store of Google takes no such condition
    /// here.
    fn changed(&self, name: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) {
        let url = format!("{}/some/place/{name}?{}", self.url, self.access);
        let mut seen = self.known(foreign_agent().get(&url)).call().unwrap();
        assert_eq!(seen.status(), 200, "{url}");
        let tag = seen.headers().get("etag").cloned();
        let changed = change(&seen.body_mut().read_to_vec().unwrap());
        let put = self.known(foreign_agent().put(&url)).header("x-ms-blob-type", "BlockBlob");
        let put = match (self.kind, tag) {
            (Kind::S3 | Kind::Minio | Kind::Azure, Some(tag)) => put.header("if-match", tag),
            _ => put,
        };
        let status = put.send(&changed[..]).unwrap().status().as_u16();
        assert!(matches!(status, 200 | 201 | 409 | 412), "{url}: {status}");
    }

    /// Every object whose name begins so, the bucket being its first part.
    pub fn beginning_with(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let prefix = name.strip_prefix("lake/").unwrap();
        let (query, is_last, key) = match self.kind {
            Kind::S3 | Kind::Minio => {
                (format!("list-type=2&prefix={prefix}"), "<IsTruncated>false</IsTruncated>", "Key")
            }
            Kind::Google => (format!("list-type=2&prefix={prefix}"), "<KeyCount>", "Key"),
            Kind::Azure => (format!("restype=container&comp=list&prefix={prefix}"), "<NextMarker/>", "Name"),
        };
        let page = String::from_utf8(self.get("", &query).unwrap()).unwrap();
        assert!(page.contains(is_last), "{page}");
        let begin = format!("<{key}>");
        let keys = page.split(&begin).skip(1).map(|rest| rest.split('<').next().unwrap());
        let keys = keys.filter(|key| key.starts_with(prefix));
        // What is listed may be deleted before it is read.
        keys.filter_map(|key| Some((key.to_owned(), self.get(&format!("/{key}"), "")?))).collect()
    }
}

/// The URL at which each request, its head and its body, is answered so. A connection is for one request.
pub fn answering(answer: impl Fn(&str, &[u8], &mut TcpStream) -> io::Result<()> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let (mut reader, mut head, mut length) = (BufReader::new(client.try_clone()?), String::new(), 0);
                let mut line = String::new();
                while reader.read_line(&mut line)? > 2 {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body)?;
                // Whoever has left needs no answer.
                answer(&head, &body, &mut client)?;
                client.shutdown(Shutdown::Both)
            });
        }
    });
    url
}

/// An answer that has nothing but a status, and this tag.
pub fn empty(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nETag: \"yes\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The answer of S3 when it refuses.
pub fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>It says no.</Message></Error>");
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n", body.len());
    format!("{head}Connection: close\r\n\r\n{body}").into_bytes()
}

/// The URL of a store that refuses everything so.
pub fn refusing(status: &str, code: &str) -> String {
    let answer = refusal(status, code);
    answering(move |_, _, client| client.write_all(&answer))
}

/// The URL of a store that lists and gives what a folder has, as what is in the place, and takes nothing. What `instead` says for a
/// read of an object is answered instead.
pub fn over_folder(folder: &Path, instead: impl Fn(&str) -> Option<Vec<u8>> + Clone + Send + 'static) -> String {
    fn objects(folder: &Path, name: &str) -> Vec<(String, PathBuf)> {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let named = entries.map(|entry| (format!("{name}/{}", entry.file_name().to_str().unwrap()), entry.path()));
        named.flat_map(|(name, path)| if path.is_dir() { objects(&path, &name) } else { vec![(name, path)] }).collect()
    }
    let folder = folder.to_owned();
    answering(move |head, _, client| {
        let path = head.strip_prefix("GET /lake").unwrap().split(' ').next().unwrap();
        let objects = objects(&folder, "some/place");
        if let Some(query) = path.strip_prefix('?') {
            let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap().replace("%2F", "/");
            let found = objects.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(name, path)| {
                let bytes = path.metadata().unwrap().len();
                let rest = format!("<LastModified>2026-11-28T00:00:00Z</LastModified><Size>{bytes}</Size>");
                format!("<Contents><Key>{name}</Key>{rest}</Contents>")
            });
            let found: String = found.collect();
            return client
                .write_all(&answer("200 OK", format!("<ListBucketResult>{found}</ListBucketResult>").as_bytes()));
        }
        let name = path.strip_prefix('/').unwrap();
        let found = objects.iter().find(|(found, _)| found == name);
        let refused = instead(name).or_else(|| found.is_none().then(|| refusal("404 Not Found", "NoSuchKey")));
        client.write_all(&refused.unwrap_or_else(|| answer("200 OK", &std::fs::read(&found.unwrap().1).unwrap())))
    })
}

/// An answer with this body.
pub fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nETag: \"it\"\r\nLast-Modified: Sat, 28 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends a signal to a process.
pub fn signal(to: &Running, signal: Signal) {
    kill_process(Pid::from_child(to.child()), signal).unwrap();
}
