//! A store that speaks S3 over HTTP, as a process of its own (Moto), with one bucket.

use crate::process::{Running, foreign_agent};
use crate::wait::until;
use headroom::time::pause;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Whoever says who he is may read and write; nobody looks whether it is true.
const AUTHORIZATION: &str = "AWS key:secret";

fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let mut fetch = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/fetch"));
        let output = fetch.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "tests/s3/fetch failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join("bin/python")
    })
}

/// Names the store at this URL to a command.
pub fn at(command: &mut Command, url: &str) {
    command.env("AWS_ENDPOINT_URL", url).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
}

pub struct Bucket {
    store: Running,
    url: String,
}

impl Bucket {
    pub fn start() -> Bucket {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut serve = Command::new(python());
        serve.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]).stdin(Stdio::null());
        let bucket = Bucket { store: Running::start(&mut serve), url: format!("http://127.0.0.1:{port}") };
        let make = || foreign_agent().put(format!("{}/lake", bucket.url)).send_empty();
        until("the store answers", || make().is_ok_and(|made| made.status() == 200));
        bucket
    }

    /// The bucket with a prefix, as a setting names it.
    pub fn place(&self) -> &'static str {
        "s3://lake/some/place"
    }

    /// Names the store to a command.
    pub fn named(&self, command: &mut Command) {
        at(command, &self.url);
    }

    /// The URL of another way to the store, on which each connection carries so many bytes a second to it.
    pub fn slow_way(&self, bytes_per_second: u32) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = self.url.strip_prefix("http://").unwrap().to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(store) = TcpStream::connect(&store) else { continue };
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

    /// Whoever wrote a partition last is said to have ended, as time would say. A position that changes meanwhile is left alone.
    pub fn writers_are_gone(&self) {
        for (name, _) in self.objects("positions").into_iter().filter(|(name, _)| name.ends_with(".json")) {
            let (agent, url) = (foreign_agent(), format!("{}/lake/some/place/{name}", self.url));
            let mut seen = agent.get(&url).header("authorization", AUTHORIZATION).call().unwrap();
            let tag = seen.headers()["etag"].clone();
            let mut position: Value = serde_json::from_str(&seen.body_mut().read_to_string().unwrap()).unwrap();
            position["writer"] = Value::Null;
            let put = agent.put(&url).header("authorization", AUTHORIZATION).header("if-match", tag);
            let status = put.send(position.to_string()).unwrap().status().as_u16();
            assert!(matches!(status, 200 | 409 | 412), "{name}: {status}");
        }
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

    /// Somebody else who reads it.
    pub fn reader(&self) -> Reader {
        Reader { url: self.url.clone() }
    }
}

#[derive(Clone)]
pub struct Reader {
    url: String,
}

impl Reader {
    fn get(&self, path: &str) -> Vec<u8> {
        let mut answer = foreign_agent()
            .get(format!("{}/lake{path}", self.url))
            .header("authorization", AUTHORIZATION)
            .call()
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.body_mut().read_to_vec().unwrap()
    }

    /// Every object whose name begins so, the bucket being its first part.
    pub fn beginning_with(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let prefix = name.strip_prefix("lake/").unwrap();
        let page = String::from_utf8(self.get(&format!("?list-type=2&prefix={prefix}"))).unwrap();
        assert!(page.contains("<IsTruncated>false</IsTruncated>"), "{page}");
        let keys = page.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
        keys.map(|key| (key.to_owned(), self.get(&format!("/{key}")))).collect()
    }
}

/// Sends a signal to a process.
pub fn signal(to: &Running, signal: Signal) {
    kill_process(Pid::from_child(to.child()), signal).unwrap();
}
