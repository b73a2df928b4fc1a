//! The keys of an issuer: which are known, and when to ask for them again.

use crate::domain::Micros;
use crate::limits::{JWKS_ASKED_MS, JWKS_PERIOD_MS, JWKS_RETRY_MAX_MS, JWKS_RETRY_MS};
use crate::time::retry_ms;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Most keys of one issuer.
const JWKS_KEYS_MAX: usize = 64;

/// The algorithms that an RSA key without an algorithm of its own may sign by.
const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A public key that signs JWTs.
pub(super) struct Key {
    pub(super) decoding: DecodingKey,
    /// What it may sign by; all are of one family and asymmetric.
    pub(super) algorithms: Vec<Algorithm>,
}

/// The keys that an issuer has published.
#[derive(Default)]
pub(super) struct KeySet {
    /// Each with its id, if it has one. Several may share one: nothing forbids an issuer to list a key for each of its
    /// algorithms, or to give no ids at all.
    keys: Vec<(Option<String>, Key)>,
    /// Differs between two sets of one process.
    pub(super) generation: u64,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys that cannot sign a JWT for us are left out: symmetric ones, those for encryption, and
    /// those of kinds that are not known.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub(super) fn parse(text: &[u8]) -> Result<KeySet, String> {
        let Jwks { keys } = serde_json::from_slice(text).map_err(|error| format!("it is no JWKS: {error}"))?;
        if keys.len() > JWKS_KEYS_MAX {
            return Err(format!("it has more than {JWKS_KEYS_MAX} keys"));
        }
        let usable = |key: Value| serde_json::from_value(key).ok().and_then(usable);
        let keys: Vec<_> = keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err("it has no key of a kind that can be used: RSA, EC P-256 or P-384, or Ed25519".to_owned());
        }
        Ok(KeySet { keys, generation: 0 })
    }

    /// The keys that may have signed a JWT with this key id. One without an id can mean a key that has none, or the only key
    /// that there is.
    pub(super) fn with_id(&self, id: Option<&str>) -> impl Iterator<Item = &Key> {
        let is_meant = move |own: Option<&str>| own == id || (id.is_none() && self.keys.len() == 1);
        self.keys.iter().filter(move |(own, _)| is_meant(own.as_deref())).map(|(_, key)| key)
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }
}

/// The key of a JWK with its id, when it can sign a JWT.
fn usable(jwk: Jwk) -> Option<(Option<String>, Key)> {
    let is_for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
        && jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &RSA,
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => &[],
    };
    let algorithms: Vec<_> = match jwk.common.key_algorithm {
        None => of_kind.to_vec(),
        Some(named) => {
            let named = Algorithm::try_from(named).ok()?;
            of_kind.iter().copied().filter(|algorithm| *algorithm == named).collect()
        }
    };
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    (is_for_signatures && !algorithms.is_empty()).then_some((jwk.common.key_id, Key { decoding, algorithms }))
}

/// The keys that are known now, and when the issuer is asked again. It does no input or output.
pub(super) struct Keys {
    current: RwLock<Arc<KeySet>>,
    asking: Mutex<Asking>,
}

/// Times are of the monotonic clock.
#[derive(Default)]
struct Asking {
    /// When to ask although nobody wants it; the beginning of time before the first attempt.
    due: Micros,
    /// When a JWT that no known key has signed may lead to the next attempt.
    may_ask: Micros,
    /// Whether such a JWT came.
    is_wanted: bool,
    failures: u32,
    loaded: Option<Micros>,
    /// The text of the last key set, as a hash.
    seen: Option<blake3::Hash>,
}

impl Keys {
    pub(super) fn new() -> Keys {
        Keys { current: RwLock::default(), asking: Mutex::default() }
    }

    pub(super) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read())
    }

    /// A JWT came that no known key has signed: the issuer may have a new key.
    pub(super) fn want(&self) {
        self.asking.lock().is_wanted = true;
    }

    /// Whether the issuer is to be asked now.
    pub(super) fn is_due(&self, now: Micros) -> bool {
        let asking = self.asking.lock();
        now >= asking.due || (asking.is_wanted && now >= asking.may_ask)
    }

    /// Takes the text of a key set that was read at `now`. Returns the new generation when the text is not the one before.
    ///
    /// # Errors
    /// What is wrong, for a person; the keys that were known before stay.
    pub(super) fn load(&self, text: &[u8], now: Micros) -> Result<Option<u64>, String> {
        let hash = blake3::hash(text);
        let mut asking = self.asking.lock();
        let is_same = asking.seen == Some(hash);
        if !is_same {
            let mut set = KeySet::parse(text)?;
            let mut current = self.current.write();
            set.generation = current.generation.saturating_add(1);
            *current = Arc::new(set);
        }
        let later = |ms: u64| Micros(now.0.saturating_add(ms.saturating_mul(1_000)));
        *asking = Asking {
            due: later(JWKS_PERIOD_MS),
            may_ask: later(JWKS_ASKED_MS),
            is_wanted: false,
            failures: 0,
            loaded: Some(now),
            seen: Some(hash),
        };
        Ok((!is_same).then(|| self.current.read().generation))
    }

    /// The issuer could not be asked at `now`. The pause until the next attempt doubles with every failure.
    pub(super) fn failed(&self, now: Micros) {
        let mut asking = self.asking.lock();
        let pause_ms = retry_ms(asking.failures, JWKS_RETRY_MS, JWKS_RETRY_MAX_MS);
        asking.failures = asking.failures.saturating_add(1);
        asking.due = Micros(now.0.saturating_add(pause_ms.saturating_mul(1_000)));
        asking.may_ask = asking.due;
    }

    /// The time since the keys were read, in microseconds; `None` while there are none.
    pub(super) fn age_us(&self, now: Micros) -> Option<u64> {
        self.asking.lock().loaded.map(|loaded| now.0.saturating_sub(loaded.0))
    }
}
