//! The token endpoint: SMART Backend Services, as strict as a server should be (requirements AU-06 to AU-15).

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::client::Client;

/// What a client asked for and may have.
pub struct Granted<'a> {
    pub client: &'a Client,
    pub scopes: Vec<String>,
}

/// RFC 6749, §5.2.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub error: &'static str,
    pub why: &'static str,
}

impl Refused {
    pub fn body(&self) -> Value {
        json!({ "error": self.error, "error_description": self.why })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    jti: String,
}

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion may be good for so long, and clocks may differ a little.
const LONGEST: i64 = 5 * 60 + 10;

/// Judges a request. `used` are the ids of assertions that came before: none is good twice.
pub fn grant<'a>(
    body: &str,
    endpoint: &str,
    clients: &'a [Client],
    used: &mut BTreeSet<String>,
    now: i64,
) -> Result<Granted<'a>, Refused> {
    let form = |name: &str| {
        let mut pairs = form_urlencoded::parse(body.as_bytes()).filter(|(key, _)| key == name);
        let value = pairs.next().map(|(_, value)| value.into_owned());
        value.filter(|_| pairs.next().is_none()).unwrap_or_default()
    };
    if form("grant_type") != "client_credentials" {
        return Err(Refused { error: "unsupported_grant_type", why: "the grant type is not client_credentials" });
    }
    if form("client_assertion_type") != ASSERTION {
        return Err(invalid_client("the assertion is not of the type jwt-bearer"));
    }
    let client = authenticated(&form("client_assertion"), endpoint, clients, used, now)?;
    let scope = form("scope");
    let scopes: Vec<String> =
        scope.split(' ').filter(|asked| client.scopes.contains(asked)).map(str::to_owned).collect();
    if scopes.is_empty() {
        return Err(Refused { error: "invalid_scope", why: "the client may have none of these scopes" });
    }
    Ok(Granted { client, scopes })
}

fn authenticated<'a>(
    assertion: &str,
    endpoint: &str,
    clients: &'a [Client],
    used: &mut BTreeSet<String>,
    now: i64,
) -> Result<&'a Client, Refused> {
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts[..] else { return Err(invalid_client("the assertion is no JWT")) };
    let (signed, _) = assertion.rsplit_once('.').unwrap_or_default();
    let decoded = |part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    let unreadable = |_| invalid_client("the assertion cannot be read");
    let header: Header = serde_json::from_slice(&decoded(header)).map_err(unreadable)?;
    let claims: Claims = serde_json::from_slice(&decoded(claims)).map_err(unreadable)?;
    let known = clients.iter().find(|client| client.id == claims.iss);
    let client = known.ok_or(invalid_client("the client is not known"))?;
    if (header.alg.as_str(), &header.kid) != (client.key.algorithm(), &client.key.id) {
        return Err(invalid_client("the client has no such key"));
    }
    if !client.key.proves(signed.as_bytes(), &decoded(signature)) {
        return Err(invalid_client("the signature of the assertion is not the client's"));
    }
    if claims.sub != claims.iss || claims.aud != endpoint {
        return Err(invalid_client("the assertion was not made by the client for this endpoint"));
    }
    if claims.exp <= now || claims.exp > now + LONGEST {
        return Err(invalid_client("the assertion has expired, or will not within five minutes"));
    }
    if !used.insert(format!("{} {}", claims.iss, claims.jti)) {
        return Err(invalid_client("the assertion was used before"));
    }
    Ok(client)
}

fn invalid_client(why: &'static str) -> Refused {
    Refused { error: "invalid_client", why }
}

#[cfg(test)]
mod tests {
    use super::super::client::{assertion, clients};
    use super::super::key::Key;
    use super::*;

    const ENDPOINT: &str = "http://127.0.0.1:1/token";

    fn form(grant_type: &str, kind: &str, assertion: &str, scope: &str) -> String {
        let pairs = [
            ("grant_type", grant_type),
            ("client_assertion_type", kind),
            ("client_assertion", assertion),
            ("scope", scope),
        ];
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    #[test]
    fn a_client_gets_what_it_may_have() {
        let (clients, mut used) = (clients().unwrap(), BTreeSet::new());
        for client in &clients {
            let proof = assertion(&client.key, client.id, ENDPOINT, 1000).unwrap();
            let body = form("client_credentials", ASSERTION, &proof, &format!("openid {}", client.scopes[0]));
            let granted = grant(&body, ENDPOINT, &clients, &mut used, 1000).unwrap_or_else(|why| panic!("{why:?}"));
            assert_eq!((granted.client.id, granted.scopes), (client.id, vec![client.scopes[0].to_owned()]));
        }
    }

    #[test]
    fn what_is_not_quite_right_is_refused() {
        let (clients, mut used) = (clients().unwrap(), BTreeSet::new());
        let client = &clients[0];
        let claims = |more: Value| {
            let mut claims = json!({ "iss": client.id, "sub": client.id, "aud": ENDPOINT, "exp": 1300, "jti": "1" });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            claims
        };
        let signed = |more: Value| client.key.token(&claims(more)).unwrap();
        let strangers = Key::curve(client.key.id.clone()).unwrap().token(&claims(json!({}))).unwrap();
        let good = signed(json!({}));
        let scope = client.scopes[0];
        for (body, error) in [
            (form("password", ASSERTION, &good, scope), "unsupported_grant_type"),
            (form("client_credentials", "saml", &good, scope), "invalid_client"),
            (form("client_credentials", ASSERTION, "", scope), "invalid_client"),
            (form("client_credentials", ASSERTION, "a.b.c", scope), "invalid_client"),
            (form("client_credentials", ASSERTION, &strangers, scope), "invalid_client"),
            (form("client_credentials", ASSERTION, &signed(json!({ "iss": "nobody" })), scope), "invalid_client"),
            (form("client_credentials", ASSERTION, &signed(json!({ "sub": "other" })), scope), "invalid_client"),
            (form("client_credentials", ASSERTION, &signed(json!({ "aud": "other" })), scope), "invalid_client"),
            (form("client_credentials", ASSERTION, &signed(json!({ "exp": 1000 })), scope), "invalid_client"),
            (form("client_credentials", ASSERTION, &signed(json!({ "exp": 1311 })), scope), "invalid_client"),
            (form("client_credentials", ASSERTION, &signed(json!({ "jti": "2" })), "system/*.cud"), "invalid_scope"),
        ] {
            let refused = grant(&body, ENDPOINT, &clients, &mut used, 1000).map(|granted| granted.scopes);
            assert_eq!(refused.unwrap_err().error, error, "{body}");
        }
        let body = form("client_credentials", ASSERTION, &good, scope);
        assert!(grant(&body, ENDPOINT, &clients, &mut used, 1000).is_ok());
        let again = grant(&body, ENDPOINT, &clients, &mut used, 1000).map(|granted| granted.scopes);
        assert_eq!(again.unwrap_err().why, "the assertion was used before");
    }
}
