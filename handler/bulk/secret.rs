//! A secret that cannot be printed, and its sealed form that may be stored.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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

/// Why a sealed text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotOpen {
    /// The key that sealed it is not among those at hand.
    NoKey,
    /// It was sealed for another job, or it was changed.
    NotGenuine,
}

/// The keys of destination secrets (design §7): the current one seals, and the former ones still open what they have
/// sealed, so that a key can be replaced while exports run.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    current: SealingKey,
    former: Vec<SealingKey>,
}

impl SealingKeys {
    pub fn new(current: SealingKey, former: Vec<SealingKey>) -> Self {
        Self { current, former }
    }

    /// Seals `secret` for `job`. `nonce` must be fresh random bytes.
    pub fn seal(&self, secret: &Secret, job: &str, nonce: [u8; 12]) -> Sealed {
        self.current.seal(secret, job, nonce)
    }

    /// Opens what one of the keys has sealed for the same job.
    pub fn open(&self, sealed: &Sealed, job: &str) -> Result<Secret, CannotOpen> {
        let mut keys = std::iter::once(&self.current).chain(&self.former);
        keys.find(|key| key.name == sealed.key).ok_or(CannotOpen::NoKey)?.open(sealed, job)
    }
}

/// One key that seals destination secrets.
#[derive(Clone)]
pub struct SealingKey {
    key: Key<Aes256Gcm>,
    name: String,
}

impl SealingKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        let name = Sha256::digest(bytes)[..4].iter().map(|b| format!("{b:02x}")).collect();
        Self { key: bytes.into(), name }
    }

    /// Parses 32 bytes of base64.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| "is not base64")?;
        Ok(Self::new(bytes.try_into().map_err(|_| "does not hold exactly 32 bytes")?))
    }

    fn seal(&self, secret: &Secret, job: &str, nonce: [u8; 12]) -> Sealed {
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: job.as_bytes() };
        let text = Aes256Gcm::new(&self.key).encrypt(Nonce::from_slice(&nonce), payload);
        // Encryption fails only for texts of more than 64 GiB; an empty text opens for nobody.
        let text = STANDARD.encode(text.unwrap_or_default());
        Sealed { key: self.name.clone(), nonce: STANDARD.encode(nonce), text }
    }

    fn open(&self, sealed: &Sealed, job: &str) -> Result<Secret, CannotOpen> {
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| CannotOpen::NotGenuine);
        let (nonce, text) = (decoded(&sealed.nonce)?, decoded(&sealed.text)?);
        if nonce.len() != 12 {
            return Err(CannotOpen::NotGenuine);
        }
        let payload = Payload { msg: &text, aad: job.as_bytes() };
        let opened = Aes256Gcm::new(&self.key).decrypt(Nonce::from_slice(&nonce), payload);
        let opened = String::from_utf8(opened.map_err(|_| CannotOpen::NotGenuine)?);
        Ok(Secret(opened.map_err(|_| CannotOpen::NotGenuine)?))
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

    /// Has a member for every type, and one more for those that are `$trait`: naming it is ambiguous for these, so that
    /// the test does not even compile.
    macro_rules! assert_is_never {
        ($of:ty: $($trait:path),+) => {$({
            trait Never<Which> {
                const IT_IS: () = ();
            }
            struct IsOne;
            impl<T: ?Sized> Never<()> for T {}
            impl<T: ?Sized + $trait> Never<IsOne> for T {}
            <$of as Never<_>>::IT_IS
        })+};
    }

    #[test]
    fn a_secret_and_a_key_cannot_be_printed_or_written_down() {
        assert_is_never!(Secret: fmt::Display, Serialize, serde::de::DeserializeOwned, std::ops::Deref, AsRef<str>);
        assert_is_never!(Secret: std::borrow::Borrow<str>, Into<String>, std::hash::Hash, PartialOrd);
        assert_is_never!(SealingKey: fmt::Display, Serialize, std::ops::Deref, AsRef<[u8]>);
        assert_is_never!(SealingKeys: fmt::Display, Serialize);
        let keys = SealingKeys::new(key(1), vec![key(2)]);
        let printed = format!("{keys:?} {:?}", keys.seal(&Secret::new("hunter2"), "job", [0; 12]));
        for secret in [&[1; 32], &[2; 32]].map(|bytes| STANDARD.encode(bytes)) {
            assert!(!printed.contains(&secret) && !printed.contains(&secret[..8]), "{printed}");
        }
    }

    #[test]
    fn a_sealed_secret_opens_only_for_its_job_and_key() {
        let keys = |number: u8| SealingKeys::new(key(number), Vec::new());
        let sealed = keys(1).seal(&Secret::new("hunter2"), "job-a", [7; 12]);
        assert_eq!(keys(1).open(&sealed, "job-a"), Ok(Secret::new("hunter2")));
        assert_eq!(keys(1).open(&sealed, "job-b"), Err(CannotOpen::NotGenuine));
        assert_eq!(keys(2).open(&sealed, "job-a"), Err(CannotOpen::NoKey));
        let changed = Sealed { text: STANDARD.encode([0; 30]), ..sealed.clone() };
        assert_eq!(keys(1).open(&changed, "job-a"), Err(CannotOpen::NotGenuine));
        let renamed = Sealed { key: key(2).name, ..sealed };
        assert_eq!(keys(2).open(&renamed, "job-a"), Err(CannotOpen::NotGenuine));
    }

    #[test]
    fn the_current_key_seals_and_the_former_ones_open_what_they_sealed() {
        let (before, secret) = (SealingKeys::new(key(1), Vec::new()), Secret::new("hunter2"));
        let sealed = before.seal(&secret, "job", [7; 12]);
        let after = SealingKeys::new(key(2), vec![key(3), key(1)]);
        assert_eq!(after.open(&sealed, "job"), Ok(secret.clone()));
        let anew = after.seal(&secret, "job", [8; 12]);
        assert_eq!(after.open(&anew, "job"), Ok(secret));
        assert_eq!(before.open(&anew, "job"), Err(CannotOpen::NoKey));
        let later = SealingKeys::new(key(2), Vec::new());
        assert_eq!(later.open(&sealed, "job"), Err(CannotOpen::NoKey));
    }

    #[test]
    fn a_key_is_32_bytes_of_base64() {
        assert_eq!(SealingKey::parse("c2hvcnQ=").unwrap_err(), "does not hold exactly 32 bytes");
        assert_eq!(SealingKey::parse("{}").unwrap_err(), "is not base64");
    }
}
