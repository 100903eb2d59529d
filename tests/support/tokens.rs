//! Key pairs, and tokens signed with them: good ones, and any other.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key pair of an authorization server, or of a client.
pub struct SigningKey {
    pub id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

impl SigningKey {
    pub fn rsa(id: &str) -> Self {
        Self { id: id.into(), pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub fn p256(id: &str) -> Self {
        Self { id: id.into(), pair: Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub fn p384(id: &str) -> Self {
        Self { id: id.into(), pair: Pair::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()) }
    }

    /// A pair that someone else made: `algorithm` tells its kind, the text is PKCS #8 in base64.
    pub fn of_pkcs8(id: &str, algorithm: &str, text: &str) -> Self {
        let bytes = STANDARD.decode(text).unwrap();
        let ec = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &bytes).unwrap();
        let pair = match algorithm {
            "ES256" => Pair::P256(ec(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            "ES384" => Pair::P384(ec(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            _ => Pair::Rsa(RsaKeyPair::from_pkcs8(&bytes).unwrap()),
        };
        Self { id: id.into(), pair }
    }

    /// The algorithm that goes with the pair by itself.
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS384",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
        }
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let curve = |name: &str, pair: &EcdsaKeyPair| {
            let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            json!({ "kty": "EC", "kid": self.id, "use": "sig", "crv": name, "x": encoded(x), "y": encoded(y) })
        };
        match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = components(pair.public_key().as_ref());
                json!({ "kty": "RSA", "kid": self.id, "use": "sig", "n": encoded(n), "e": encoded(e) })
            }
            Pair::P256(pair) => curve("P-256", pair),
            Pair::P384(pair) => curve("P-384", pair),
        }
    }

    pub fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, text, &mut signature).unwrap();
            signature
        };
        match (&self.pair, algorithm) {
            (Pair::Rsa(pair), "RS256") => rsa(pair, &RSA_PKCS1_SHA256),
            (Pair::Rsa(pair), "RS512") => rsa(pair, &RSA_PKCS1_SHA512),
            (Pair::Rsa(pair), _) => rsa(pair, &RSA_PKCS1_SHA384),
            (Pair::P256(pair) | Pair::P384(pair), _) => pair.sign(&random, text).unwrap().as_ref().to_vec(),
        }
    }

    /// A token with these claims, signed in the way that goes with the pair.
    pub fn token(&self, claims: &Value) -> String {
        self.token_by(self.algorithm(), claims)
    }

    pub fn token_by(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({ "alg": algorithm, "kid": self.id, "typ": "JWT" });
        token(&header, claims, |text| self.sign(algorithm, text))
    }
}

/// A token of any header and any signature.
pub fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Modulus and exponent of an RSA public key: a sequence of two integers.
fn components(der: &[u8]) -> (&[u8], &[u8]) {
    let (sequence, _) = element(der);
    let (modulus, rest) = element(sequence);
    (modulus.strip_prefix(&[0]).unwrap_or(modulus), element(rest).0)
}

/// The content of the first DER element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (size, content) = match der[1] {
        short @ ..0x80 => (usize::from(short), &der[2..]),
        long => {
            let (size, content) = der[2..].split_at(usize::from(long & 0x7f));
            (size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte)), content)
        }
    };
    content.split_at(size)
}
