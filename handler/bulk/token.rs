//! A bearer token: a JWT (RFC 7519), signed by an authorization server (requirements AU-18, ER-05).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::key_set::{Algorithm, PublicKey};
use super::timestamp::Timestamp;

/// Why a request has no bearer that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It has no token.
    Missing,
    Expired,
    /// The token is not what we accept, for this reason.
    Refused(&'static str),
}

/// A token as it was presented: nothing in it is to be believed.
pub struct Presented<'a> {
    /// Names the key that signed it.
    pub key: String,
    algorithm: Algorithm,
    claims: Claims,
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// What the server says of the bearer.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Claims {
    #[serde(rename = "iss")]
    pub issuer: String,
    #[serde(rename = "aud", deserialize_with = "one_or_more", default)]
    pub audiences: Vec<String>,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    pub client_id: Option<String>,
    pub azp: Option<String>,
    pub appid: Option<String>,
    pub sub: Option<String>,
    #[serde(deserialize_with = "words", default)]
    scope: Vec<String>,
    #[serde(deserialize_with = "words", default)]
    scp: Vec<String>,
    #[serde(deserialize_with = "one_or_more", default)]
    pub roles: Vec<String>,
}

/// More than any server sends: some put a hundred groups into a token.
const LARGEST: usize = 16 * 1024;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// What must be understood; of extensions we understand none.
    crit: Option<IgnoredAny>,
}

const NO_JWT: Unknown = Unknown::Refused("the token is no signed JWT");

impl<'a> Presented<'a> {
    /// Reads the `Authorization` header.
    pub fn in_header(header: &'a str) -> Result<Self, Unknown> {
        let (scheme, token) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Err(Unknown::Missing);
        }
        Self::read(token.trim())
    }

    fn read(token: &'a str) -> Result<Self, Unknown> {
        if token.len() > LARGEST {
            return Err(Unknown::Refused("the token is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(NO_JWT)?;
        let (header, claims) = signed.split_once('.').ok_or(NO_JWT)?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NO_JWT);
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| NO_JWT)?;
        let algorithm = Algorithm::parse(&header.alg)
            .ok_or(Unknown::Refused("the token is signed with an algorithm that is not accepted"))?;
        let is_access_token = |kind: &str| {
            let kind = kind.to_ascii_lowercase();
            ["jwt", "at+jwt"].contains(&kind.strip_prefix("application/").unwrap_or(&kind))
        };
        if header.crit.is_some() || !header.typ.as_deref().is_none_or(is_access_token) {
            return Err(Unknown::Refused("the token is of a kind that is not accepted"));
        }
        let key = header.kid.ok_or(Unknown::Refused("the token does not name its key"))?;
        let claims = serde_json::from_slice(&decoded(claims)?)
            .map_err(|_| Unknown::Refused("the claims of the token cannot be read, or exp or iss is missing"))?;
        Ok(Self { key, algorithm, claims, signed: signed.as_bytes(), signature: decoded(signature)? })
    }

    /// What the token claims, before anybody has looked at its signature: to find out who shall have signed it, and to
    /// refuse early what would be refused in any case.
    pub fn claimed(&self) -> &Claims {
        &self.claims
    }

    /// The claims, once one of the server's keys has proved them.
    pub fn proved_by(self, keys: &[PublicKey]) -> Result<Claims, Unknown> {
        match keys.iter().any(|key| key.proves(self.algorithm, self.signed, &self.signature)) {
            true => Ok(self.claims),
            false => Err(Unknown::Refused("the signature of the token does not fit its key")),
        }
    }
}

impl Claims {
    /// Whether now is a time for which the token was made, by clocks that differ by `skew` at most.
    pub fn check_time(&self, now: Timestamp, skew: Duration) -> Result<(), Unknown> {
        let (now, skew) = (now.unix_seconds(), skew.as_secs_f64());
        if now >= self.exp + skew {
            return Err(Unknown::Expired);
        }
        let has_come = |time: Option<f64>| time.is_none_or(|time| time <= now + skew);
        match has_come(self.nbf) && has_come(self.iat) {
            true => Ok(()),
            false => Err(Unknown::Refused("the token is not valid yet")),
        }
    }

    /// Who presents the token: the client, by the claim that tells it. Servers have different names for it.
    pub fn client(&self) -> Result<&str, Unknown> {
        let named = [&self.client_id, &self.azp, &self.appid, &self.sub].into_iter().flatten();
        let client = named.map(String::as_str).find(|name| !name.is_empty());
        let printable = |name: &&str| name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_graphic());
        client.filter(printable).ok_or(Unknown::Refused("the token does not tell its client"))
    }

    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.iter().chain(&self.scp).map(String::as_str)
    }
}

/// It stands in documents and records.
const LONGEST_NAME: usize = 200;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// Separated by spaces, or a list.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        OneOrMore::More(more) => more,
    })
}
