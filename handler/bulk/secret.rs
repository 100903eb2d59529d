//! A secret that cannot be printed, and its sealed form that may be stored.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A credential. It has no `Display` and no `Serialize`, and its `Debug` is a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one call that authenticates with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret encrypted with AES-256-GCM, bound to the job that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// First eight hex digits of the key's SHA-256: tells which key to use once keys rotate.
    key: String,
    /// 12 bytes, base64; never used twice with one key.
    nonce: String,
    /// Ciphertext and tag, base64.
    text: String,
}

/// The sealed text does not open: another key, another job, or a changed text.
#[derive(Debug, PartialEq, Eq)]
pub struct CannotOpen;

/// The key that seals destination secrets (design §7).
#[derive(Clone)]
pub struct SealingKey {
    key: Key<Aes256Gcm>,
    name: String,
}

impl SealingKey {
    /// Parses 32 bytes of base64.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        use sha2::{Digest, Sha256};
        let bytes = STANDARD.decode(text.trim()).map_err(|_| "is not base64")?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| "does not hold exactly 32 bytes")?;
        let name = Sha256::digest(bytes)[..4].iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { key: bytes.into(), name })
    }

    /// Seals `secret` for `job`. `nonce` must be fresh random bytes.
    pub fn seal(&self, secret: &Secret, job: &str, nonce: [u8; 12]) -> Sealed {
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: job.as_bytes() };
        let text = Aes256Gcm::new(&self.key).encrypt(Nonce::from_slice(&nonce), payload);
        // Encryption fails only for texts of more than 64 GiB; an empty text opens for nobody.
        let text = STANDARD.encode(text.unwrap_or_default());
        Sealed { key: self.name.clone(), nonce: STANDARD.encode(nonce), text }
    }

    /// Opens what [`SealingKey::seal`] made for the same job.
    pub fn open(&self, sealed: &Sealed, job: &str) -> Result<Secret, CannotOpen> {
        let nonce = STANDARD.decode(&sealed.nonce).map_err(|_| CannotOpen)?;
        let text = STANDARD.decode(&sealed.text).map_err(|_| CannotOpen)?;
        if nonce.len() != 12 || sealed.key != self.name {
            return Err(CannotOpen);
        }
        let payload = Payload { msg: &text, aad: job.as_bytes() };
        let opened = Aes256Gcm::new(&self.key).decrypt(Nonce::from_slice(&nonce), payload);
        let opened = String::from_utf8(opened.map_err(|_| CannotOpen)?).map_err(|_| CannotOpen)?;
        Ok(Secret(opened))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::parse(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
        let sealed = key(1).seal(&Secret::new("hunter2"), "job", [0; 12]);
        assert!(!serde_json::to_string(&sealed).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_sealed_secret_opens_only_for_its_job_and_key() {
        let sealed = key(1).seal(&Secret::new("hunter2"), "job-a", [7; 12]);
        assert_eq!(key(1).open(&sealed, "job-a"), Ok(Secret::new("hunter2")));
        assert_eq!(key(1).open(&sealed, "job-b"), Err(CannotOpen));
        assert_eq!(key(2).open(&sealed, "job-a"), Err(CannotOpen));
    }

    #[test]
    fn a_key_is_32_bytes_of_base64() {
        assert_eq!(SealingKey::parse("c2hvcnQ=").unwrap_err(), "does not hold exactly 32 bytes");
        assert_eq!(SealingKey::parse("{}").unwrap_err(), "is not base64");
    }
}
