//! The public keys of an authorization server (RFC 7517), and what they prove.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// How a token may be signed: by a key pair, never by a secret that we would have to share, and never not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
}

impl Algorithm {
    /// `alg`, to the letter.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            _ => None,
        }
    }
}

/// All keys of a server that can be used.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<PublicKey>);

/// A key that proves signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    /// The one algorithm that the key is for, if it says so.
    algorithm: Option<Algorithm>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256 { point: Vec<u8> },
    P384 { point: Vec<u8> },
}

/// A server that rotates its keys has two or three.
const MOST_KEYS: usize = 50;

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. Keys of other kinds and for other uses stand in it as well, and are passed over.
    pub fn read(text: &[u8]) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(text).map_err(|_| "it is no JWK set")?;
        let keys: Vec<_> = document.keys.into_iter().take(MOST_KEYS).filter_map(PublicKey::read).collect();
        if keys.is_empty() { Err("none of its keys can be used") } else { Ok(Self(keys)) }
    }

    /// The keys of this id: one, unless the server is careless.
    pub fn named(&self, id: &str) -> Vec<PublicKey> {
        self.0.iter().filter(|key| key.id == id).cloned().collect()
    }
}

impl PublicKey {
    fn read(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = jwk.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|name| name == "verify"));
        if !signs || !verifies {
            return None;
        }
        let algorithm = match &jwk.alg {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        let kind = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Kind::Rsa { modulus: decoded(&jwk.n)?, exponent: decoded(&jwk.e)? },
            ("EC", Some("P-256")) => Kind::P256 { point: point(&jwk, 32)? },
            ("EC", Some("P-384")) => Kind::P384 { point: point(&jwk, 48)? },
            _ => return None,
        };
        Some(Self { id: jwk.kid, algorithm, kind })
    }

    /// Whether the owner of this key signed the text, with this algorithm.
    pub fn proves(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return false;
        }
        let rsa = |parameters: &'static RsaParameters| match &self.kind {
            Kind::Rsa { modulus, exponent } => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, text, signature).is_ok()
            }
            Kind::P256 { .. } | Kind::P384 { .. } => false,
        };
        match (algorithm, &self.kind) {
            (Algorithm::Rs256, _) => rsa(&RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::Rs384, _) => rsa(&RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::Rs512, _) => rsa(&RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::Es256, Kind::P256 { point }) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature).is_ok()
            }
            (Algorithm::Es384, Kind::P384 { point }) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(text, signature).is_ok()
            }
            (Algorithm::Es256 | Algorithm::Es384, Kind::Rsa { .. } | Kind::P256 { .. } | Kind::P384 { .. }) => false,
        }
    }
}

fn decoded(part: &Option<String>) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(part.as_ref()?).ok()?;
    // Some servers put a sign in front of the modulus.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    (!bytes.is_empty()).then_some(bytes)
}

/// Both coordinates, each as long as the curve has it, behind the byte that says so.
fn point(jwk: &Jwk, size: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [&jwk.x, &jwk.y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate.as_ref()?).ok().filter(|bytes| bytes.len() == size)?;
        point.extend(bytes);
    }
    Some(point)
}
