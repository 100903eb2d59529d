//! The clients that the authorization server knows, and how one of them asks for a token.

use anyhow::{Context, Result};
use azure_core::Uuid;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use url::Url;

use super::key::Key;

/// A registered client.
pub struct Client {
    pub id: &'static str,
    pub key: Key,
    /// What it may have.
    pub scopes: &'static [&'static str],
}

/// The scope whose bearers administer the service.
pub const ADMINISTRATOR: &str = "fhir-export/admin";

/// One for everything, one for little, and one who administers; with keys of either kind.
pub fn clients() -> Result<Vec<Client>> {
    let everything: &[&str] = &["system/*.rs", "system/*.read"];
    let patients: &[&str] = &["system/Patient.rs", "system/Patient.read"];
    Ok(vec![
        Client { id: "everything", key: Key::curve("everything-1".into())?, scopes: everything },
        Client { id: "patients", key: Key::rsa("patients-1".into())?, scopes: patients },
        Client { id: "administrator", key: Key::curve("administrator-1".into())?, scopes: &[ADMINISTRATOR] },
    ])
}

/// A client with all that it needs to ask for tokens, for people and tests to try.
pub fn described(client: &Client) -> Result<Value> {
    Ok(json!({
        "id": client.id,
        "scopes": client.scopes,
        "algorithm": client.key.algorithm(),
        "kid": client.key.id,
        "privateKey": client.key.written()?,
    }))
}

/// The proof of a client that it is itself.
pub fn assertion(key: &Key, id: &str, endpoint: &str, now: i64) -> Result<String> {
    let jti = Uuid::new_v4().to_string();
    key.token(&json!({ "iss": id, "sub": id, "aud": endpoint, "exp": now + 300, "jti": jti }))
}

/// A client as [`described`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    id: String,
    scopes: Vec<String>,
    algorithm: String,
    kid: String,
    private_key: String,
}

/// Gets a token from a running server of ours, by the whole flow.
pub async fn token(issuer: &Url, id: &str, scope: Option<&str>) -> Result<String> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let clients = http.get(issuer.join("/clients")?).send().await?.bytes().await?;
    let clients: Vec<Registered> = serde_json::from_slice(&clients).context("read the clients of the server")?;
    let client = clients.into_iter().find(|client| client.id == id);
    let client = client.with_context(|| format!("the server has no client {id}"))?;
    let endpoint = issuer.join("/token")?;
    let key = Key::read(client.kid, &client.algorithm, &client.private_key)?;
    let proof = assertion(&key, &client.id, endpoint.as_str(), OffsetDateTime::now_utc().unix_timestamp())?;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        .append_pair("client_assertion", &proof)
        .append_pair("scope", scope.unwrap_or(&client.scopes.join(" ")))
        .finish();
    let request = http.post(endpoint).header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer: Value = serde_json::from_slice(&request.send().await?.bytes().await?)?;
    let token = answer["access_token"].as_str();
    Ok(token.with_context(|| format!("the server gives no token: {answer}"))?.to_owned())
}
