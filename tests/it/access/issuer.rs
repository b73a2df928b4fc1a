//! An issuer of JWTs, with keys of every kind, and a server that publishes them.

use openssl::base64::encode_block;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

pub const AUDIENCE: &str = "headroom";

/// A key that signs, with its id.
pub struct Key {
    pub id: &'static str,
    pub pair: PKey<Private>,
}

pub fn base64url(bytes: &[u8]) -> String {
    encode_block(bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
}

impl Key {
    pub fn rsa(id: &'static str) -> Key {
        Key { id, pair: PKey::from_rsa(Rsa::generate(2_048).unwrap()).unwrap() }
    }

    pub fn ec(id: &'static str, curve: Nid) -> Key {
        let key = EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap();
        Key { id, pair: PKey::from_ec_key(key).unwrap() }
    }

    pub fn ed(id: &'static str) -> Key {
        Key { id, pair: PKey::generate_ed25519().unwrap() }
    }

    /// Its public half as a JWK.
    pub fn jwk(&self) -> Value {
        if let Ok(rsa) = self.pair.rsa() {
            let (n, e) = (base64url(&rsa.n().to_vec()), base64url(&rsa.e().to_vec()));
            return json!({"kty": "RSA", "kid": self.id, "use": "sig", "n": n, "e": e});
        }
        if let Ok(ec) = self.pair.ec_key() {
            let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
            let mut context = BigNumContext::new().unwrap();
            ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut context).unwrap();
            let bytes = i32::try_from(ec.group().degree().div_ceil(8)).unwrap();
            let [x, y] = [x, y].map(|number| base64url(&number.to_vec_padded(bytes).unwrap()));
            let curve = format!("P-{}", ec.group().degree());
            return json!({"kty": "EC", "kid": self.id, "crv": curve, "x": x, "y": y});
        }
        let x = base64url(&self.pair.raw_public_key().unwrap());
        json!({"kty": "OKP", "kid": self.id, "crv": "Ed25519", "x": x})
    }

    /// The signature that an algorithm asks for.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let digest = match algorithm.get(2..) {
            Some("256") => MessageDigest::sha256(),
            Some("384") => MessageDigest::sha384(),
            Some("512") => MessageDigest::sha512(),
            _ => return Signer::new_without_digest(&self.pair).unwrap().sign_oneshot_to_vec(message).unwrap(),
        };
        let mut signer = Signer::new(digest, &self.pair).unwrap();
        if algorithm.starts_with("PS") {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        let signature = signer.sign_oneshot_to_vec(message).unwrap();
        if !algorithm.starts_with("ES") {
            return signature;
        }
        let numbers = EcdsaSig::from_der(&signature).unwrap();
        let bytes = if algorithm == "ES256" { 32 } else { 48 };
        [numbers.r(), numbers.s()].map(|number| number.to_vec_padded(bytes).unwrap()).concat()
    }

    /// A JWT with this header and these claims.
    pub fn jwt_of(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = base64url(&self.sign(algorithm, message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A usual JWT with these claims.
    pub fn jwt(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": self.id});
        self.jwt_of(algorithm, &header.to_string(), &claims.to_string())
    }
}

pub fn jwks(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// A server that answers GET requests with what a test says.
pub struct Publisher {
    pub address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

/// The answer to a path: a status and a body.
type Answer = Box<dyn Fn(&str) -> (u16, String) + Send>;

impl Publisher {
    pub fn start() -> Publisher {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(|_| (503, String::new()))));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&asked));
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
                let Some(Ok(first)) = head.next() else { continue };
                while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                count.fetch_add(1, SeqCst);
                let (status, body) = answers.lock()(first.split(' ').nth(1).unwrap_or_default());
                let length = body.len();
                // A reader that has enough hangs up.
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        Publisher { address, answer, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: impl Fn(&str) -> (u16, String) + Send + 'static) {
        *self.answer.lock() = Box::new(answer);
    }

    /// Publishes these keys, and a discovery document that names them.
    pub fn publish(&self, keys: &[&Key]) {
        let (keys, url) = (jwks(keys), self.url());
        self.answer(move |path| match path {
            "/.well-known/openid-configuration" => {
                (200, json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
            }
            "/keys" => (200, keys.clone()),
            _ => (404, String::new()),
        });
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}
