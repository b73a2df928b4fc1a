//! HTTP/2 frame by frame, for callers that do what no library does.

use crate::wait::PATIENCE;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The setting of the window that every new stream has.
pub const INITIAL_WINDOW: u16 = 4;

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header that no table keeps and nothing compresses.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    }
    assert!(bytes.iter().skip(1).take(1).all(|length| *length < 127));
    bytes
}

/// The headers of a request.
pub fn head(method: &str, path: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/json"),
        ("request-timeout-ms", "5000"),
    ];
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A connection whose caller writes every frame itself, and reads those that come back.
pub struct Frames {
    stream: TcpStream,
    next_stream: u32,
    /// What has come of bodies, and whether that was all.
    bodies: BTreeMap<u32, (Vec<u8>, bool)>,
    /// The last stream that the other side says it took, once it has said so.
    pub last_stream: Option<u32>,
}

impl Frames {
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Frames {
        Frames::reach(address, settings).unwrap()
    }

    /// A connection with its preface sent, if somebody listens there.
    pub fn reach(address: SocketAddr, settings: &[(u16, u32)]) -> Option<Frames> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Frames { stream, next_stream: 1, bodies: BTreeMap::new(), last_stream: None };
        frames.write(PREFACE);
        let of = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frames.send(SETTINGS, 0, 0, &settings.iter().flat_map(of).collect::<Vec<_>>());
        Some(frames)
    }

    /// How long it waits for the other side to send or to take something.
    pub fn patience(&self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        self.stream.set_write_timeout(Some(limit)).unwrap();
    }

    /// Whether the other side has ended the connection.
    pub fn is_cut_off(&mut self) -> bool {
        let mut chunk = [0; 1 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }

    /// Sends these bytes; whether the other side still takes any.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&frame(kind, flags, stream, payload))
    }

    /// The next stream's number.
    pub fn open(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        stream
    }

    /// Sends a request; answers its stream.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> u32 {
        let stream = self.open();
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &head(method, path));
        bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
        self.write(&bytes);
        stream
    }

    /// Reads until this frame comes; `None` when the connection ends first. What has to be confirmed is confirmed.
    pub fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            match frame.kind {
                PING | SETTINGS if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == PING { frame.payload.as_slice() } else { &[] };
                    self.send(frame.kind, ACK, 0, payload);
                }
                GOAWAY => self.last_stream = Some(u32::from_be_bytes(frame.payload[..4].try_into().unwrap())),
                DATA => {
                    let (body, is_whole) = self.bodies.entry(frame.stream).or_default();
                    body.extend(&frame.payload);
                    *is_whole |= frame.flags & END_STREAM != 0;
                }
                _ => {}
            }
            if is_it(&frame) {
                return Some(frame);
            }
        }
    }

    /// The whole body of an answer; `None` when the stream or the connection ends first.
    pub fn body(&mut self, stream: u32) -> Option<String> {
        loop {
            if let Some((body, _)) = self.bodies.remove(&stream).filter(|(_, is_whole)| *is_whole) {
                return Some(String::from_utf8(body).unwrap());
            }
            let is_over = |frame: &Frame| frame.kind == GOAWAY || frame.stream == stream;
            let frame = self.until(|frame| is_over(frame) || frame.flags & END_STREAM != 0)?;
            let is_refused = frame.kind == GOAWAY && self.last_stream.is_some_and(|last| last < stream);
            if is_refused || (frame.kind == RST_STREAM && frame.stream == stream) {
                return None;
            }
        }
    }

    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }
}
