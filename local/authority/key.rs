//! Key pairs of the authorization server and of its clients.

use anyhow::{Result, anyhow, bail};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_SHA384, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key pair, which signs in the one way that SMART has for its kind.
pub struct Key {
    pub id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Curve(EcdsaKeyPair),
}

impl Key {
    /// Signs by RS384.
    pub fn rsa(id: String) -> Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("make an RSA key"))?;
        Ok(Self { id, pair: Pair::Rsa(pair) })
    }

    /// Signs by ES384.
    pub fn curve(id: String) -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| anyhow!("make a key"))?;
        Ok(Self { id, pair: Pair::Curve(pair) })
    }

    /// A pair that is written down.
    pub fn read(id: String, algorithm: &str, text: &str) -> Result<Self> {
        let bytes = STANDARD.decode(text)?;
        let pair = match algorithm {
            "RS384" => Pair::Rsa(RsaKeyPair::from_pkcs8(&bytes)?),
            "ES384" => Pair::Curve(EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &bytes)?),
            other => bail!("{other} is not known here"),
        };
        Ok(Self { id, pair })
    }

    /// The private half: PKCS #8 in base64.
    pub fn written(&self) -> Result<String> {
        let bytes = match &self.pair {
            Pair::Rsa(pair) => pair.as_der().map(|der| der.as_ref().to_vec()),
            Pair::Curve(pair) => pair.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
        };
        Ok(STANDARD.encode(bytes.map_err(|_| anyhow!("write a key down"))?))
    }

    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS384",
            Pair::Curve(_) => "ES384",
        }
    }

    /// The public half, as a JWK.
    pub fn public(&self) -> Value {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let common = json!({ "kid": self.id, "use": "sig", "alg": self.algorithm() });
        let own = match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = modulus_and_exponent(pair.public_key().as_ref());
                json!({ "kty": "RSA", "n": encoded(n), "e": encoded(e) })
            }
            Pair::Curve(pair) => {
                // The first byte says that both coordinates follow.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": "P-384", "x": encoded(x), "y": encoded(y) })
            }
        };
        merged(common, own)
    }

    /// A JWT with these claims.
    pub fn token(&self, claims: &Value) -> Result<String> {
        let header = json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" });
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(claims));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let signed = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA384, &random, text, &mut signature).map(|()| signature)
            }
            Pair::Curve(pair) => pair.sign(&random, text).map(|signature| signature.as_ref().to_vec()),
        };
        signed.map_err(|_| anyhow!("sign"))
    }

    /// Whether this pair signed the text.
    pub fn proves(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.pair {
            Pair::Rsa(pair) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA384, pair.public_key().as_ref())
                .verify(text, signature)
                .is_ok(),
            Pair::Curve(pair) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, pair.public_key().as_ref())
                .verify(text, signature)
                .is_ok(),
        }
    }
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}

/// Of an RSA public key in DER: a sequence of two integers.
fn modulus_and_exponent(der: &[u8]) -> (&[u8], &[u8]) {
    let (sequence, _) = element(der);
    let (modulus, rest) = element(sequence);
    // The sign of a positive number.
    (modulus.strip_prefix(&[0]).unwrap_or(modulus), element(rest).0)
}

/// The content of the first element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    match der {
        [_, size @ ..0x80, rest @ ..] => rest.split_at(usize::from(*size)),
        [_, long, rest @ ..] => {
            let (size, rest) = rest.split_at(usize::from(long & 0x7f));
            rest.split_at(size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte)))
        }
        _ => (&[], &[]),
    }
}
