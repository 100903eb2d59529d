//! The port `Issuers` in memory: what authorization servers publish.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use fhir_export::bulk::authority::{Authority, Authorization, Issuer, Plain};
use fhir_export::functions::Settings;
use fhir_export::ports::{ErrorKind, Issuers, PortError};
use serde_json::{Value, json};
use url::Url;

use super::gate::{Call, refused};
use super::tokens::SigningKey;
use super::world::{World, small};

/// By URL.
#[derive(Default)]
pub struct Servers(BTreeMap<String, Vec<u8>>);

pub const ISSUER: &str = "https://login.example/tenant";
pub const AUDIENCE: &str = "https://export.example";

impl Servers {
    pub fn publish(&mut self, url: &str, document: &Value) {
        self.0.insert(url.to_owned(), document.to_string().into_bytes());
    }

    /// The server of [`ISSUER`] has these keys, and says where they are.
    pub fn rotate(&mut self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.publish("https://login.example/keys", &json!({ "keys": keys }));
        let metadata = json!({
            "issuer": ISSUER,
            "jwks_uri": "https://login.example/keys",
            "token_endpoint": "https://login.example/token",
        });
        self.publish(&format!("{ISSUER}/.well-known/openid-configuration"), &metadata);
    }
}

#[async_trait]
impl Issuers for World {
    async fn document(&self, url: &Url) -> Result<Bytes, PortError> {
        let call = Call::read("issuers.document", url.as_str());
        self.call(call, |state| {
            let found = state.servers.0.get(url.as_str());
            found.cloned().map(Bytes::from).ok_or_else(|| refused(ErrorKind::NotFound, "issuers.document"))
        })
        .await
    }
}

/// Settings under which tokens of [`ISSUER`] are asked for.
pub fn with_tokens() -> Settings {
    let authority = Authority {
        issuers: vec![Issuer { name: ISSUER.into(), keys: None }],
        audiences: vec![AUDIENCE.into()],
        hosts: Vec::new(),
        roles: vec![("Export.All".into(), vec!["system/*.rs".into()])],
        administrators: vec!["Export.Admin".into()],
        skew: std::time::Duration::from_secs(60),
        token_endpoint: None,
        plain: Plain::Never,
    };
    Settings { authorization: Authorization::Tokens(authority), ..small() }
}
