//! An authorization server stand-in on a loopback port: metadata, keys that can be changed, and tokens for its clients.

mod client;
mod grant;
mod key;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use clap::Args;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use url::Url;

use crate::server::{self, Body, Server, Service, Unanswered};
use client::Client;
use key::Key;

/// Gets a token from the authorization server of `up --authorization`
#[derive(Args)]
pub struct TokenArgs {
    /// The issuer, as the line of JSON has it
    issuer: Url,
    /// Which of its clients asks: everything, patients or administrator
    #[arg(long, default_value = "everything")]
    client: String,
    /// The scopes that it asks for; without them, all that it may have
    #[arg(long)]
    scope: Option<String>,
}

pub async fn token(args: TokenArgs) -> Result<()> {
    println!("{}", client::token(&args.issuer, &args.client, args.scope.as_deref()).await?);
    Ok(())
}

/// A running server.
pub struct Authority {
    state: Arc<State>,
    server: Server,
}

struct State {
    /// Its name, and the URL under which it is reached.
    issuer: String,
    /// What its tokens are made for.
    audience: String,
    clients: Vec<Client>,
    /// The key that signs now; those before it are withdrawn.
    key: Mutex<(u32, Key)>,
    used: Mutex<BTreeSet<String>>,
}

/// SMART has tokens live so long at most.
const LIFETIME: i64 = 300;

impl Authority {
    pub async fn start(audience: String) -> Result<Self> {
        let (listener, address) = server::listen(None).await?;
        let state = Arc::new(State {
            issuer: format!("http://{address}"),
            audience,
            clients: client::clients()?,
            key: Mutex::new((1, Key::rsa("server-1".into())?)),
            used: Mutex::default(),
        });
        Ok(Self { server: Server::start(listener, Arc::clone(&state)), state })
    }

    /// What makes a handler accept its tokens.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let settings = [
            ("EXPORT_AUTHORIZATION", "oauth"),
            ("EXPORT_OAUTH_ISSUERS", &self.state.issuer),
            ("EXPORT_OAUTH_AUDIENCES", &self.state.audience),
            ("EXPORT_OAUTH_ADMINISTRATORS", client::ADMINISTRATOR),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    pub fn described(&self) -> Result<Value> {
        let clients: Result<Vec<Value>> = self.state.clients.iter().map(client::described).collect();
        let issuer = &self.state.issuer;
        Ok(json!({
            "issuer": issuer,
            "tokenEndpoint": self.state.endpoint(),
            "rotate": format!("{issuer}/rotate"),
            "clients": clients?,
        }))
    }

    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Service for State {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Unanswered> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let body = request.into_body().collect().await.map_err(|_| Unanswered)?.to_bytes();
        let body = String::from_utf8_lossy(&body);
        let (status, answer) = match (method, path.as_str()) {
            (Method::GET, "/.well-known/openid-configuration") => (StatusCode::OK, self.metadata()),
            (Method::GET, "/keys") => (StatusCode::OK, json!({ "keys": [self.key().1.public()] })),
            (Method::GET, "/clients") => self.clients().map_or_else(failed, |clients| (StatusCode::OK, clients)),
            (Method::POST, "/token") => self.token(&body).unwrap_or_else(failed),
            (Method::POST, "/rotate") => self.rotate().map_or_else(failed, |key| (StatusCode::OK, key)),
            _ => (StatusCode::NOT_FOUND, json!({})),
        };
        let mut response = Response::new(server::full(answer.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
        headers.insert("cache-control", hyper::header::HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

fn failed(error: anyhow::Error) -> (StatusCode, Value) {
    (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": "server_error", "error_description": format!("{error:#}") }))
}

impl State {
    fn endpoint(&self) -> String {
        format!("{}/token", self.issuer)
    }

    fn key(&self) -> MutexGuard<'_, (u32, Key)> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/keys", self.issuer),
            "token_endpoint": self.endpoint(),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        })
    }

    fn clients(&self) -> Result<Value> {
        self.clients.iter().map(client::described).collect()
    }

    fn token(&self, body: &str) -> Result<(StatusCode, Value)> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = match grant::grant(body, &self.endpoint(), &self.clients, &mut used, now) {
            Ok(granted) => granted,
            Err(refused) => return Ok((StatusCode::BAD_REQUEST, refused.body())),
        };
        let scope = granted.scopes.join(" ");
        let id = granted.client.id;
        let token = self.key().1.token(&json!({
            "iss": self.issuer, "aud": self.audience, "sub": id, "client_id": id, "scope": scope,
            "iat": now, "nbf": now, "exp": now + LIFETIME,
        }))?;
        let answer = json!({ "access_token": token, "token_type": "bearer", "expires_in": LIFETIME, "scope": scope });
        Ok((StatusCode::OK, answer))
    }

    /// Another key of the other kind, and the end of the one before.
    fn rotate(&self) -> Result<Value> {
        let mut key = self.key();
        let number = key.0 + 1;
        let id = format!("server-{number}");
        *key = (number, if number.is_multiple_of(2) { Key::curve(id)? } else { Key::rsa(id)? });
        Ok(key.1.public())
    }
}
