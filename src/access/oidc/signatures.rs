//! Signatures of JWTs by ring, for the library that reads JWTs. Only asymmetric algorithms are known here, so nobody can
//! sign with a public key.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::error::Unspecified;
use ring::signature::{self as ring_signature, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

/// What the library asks of cryptography; nothing here signs.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(unsupported()),
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: |_, _| Err(unsupported()),
        ed_pub_components_from_private_key: |_, _| Err(unsupported()),
        compute_digest: |_, _| Err(unsupported()),
    },
};

/// Makes the library use these signatures in this process.
pub(super) fn install() {
    // A second call finds the provider of the first one.
    let _ = PROVIDER.install_default();
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

struct Signatures {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let algorithm = *algorithm;
    if algorithm.family() != key.family() || algorithm.family() == AlgorithmFamily::Hmac {
        return Err(unsupported());
    }
    Ok(Box::new(Signatures { algorithm, key: key.clone() }))
}

impl JwtVerifier for Signatures {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Signatures {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => rsa(self.algorithm).and_then(|algorithm| {
                let key = RsaPublicKeyComponents { n: without_zeros(n), e: without_zeros(e) };
                key.verify(algorithm, message, signature)
            }),
            DecodingKeyKind::SecretOrDer(point) => other(self.algorithm)
                .and_then(|algorithm| UnparsedPublicKey::new(algorithm, point).verify(message, signature)),
        };
        verified.map_err(|Unspecified| signature::Error::new())
    }
}

/// Keys of 2,048 to 8,192 bits.
fn rsa(algorithm: Algorithm) -> Result<&'static RsaParameters, Unspecified> {
    match algorithm {
        Algorithm::RS256 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Ok(&ring_signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Ok(&ring_signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Ok(&ring_signature::RSA_PSS_2048_8192_SHA512),
        _ => Err(Unspecified),
    }
}

fn other(algorithm: Algorithm) -> Result<&'static dyn ring_signature::VerificationAlgorithm, Unspecified> {
    match algorithm {
        // JWTs have the two numbers of a signature one after the other, and not in DER.
        Algorithm::ES256 => Ok(&ring_signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Ok(&ring_signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Ok(&ring_signature::ED25519),
        _ => Err(Unspecified),
    }
}

/// Some issuers write a number with a zero in front of it, which ring refuses.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
