//! What clients discover about authorization (requirements AU-02 to AU-04, CS-07).

use serde_json::{Value, json};

use super::authority::Metadata;

/// How a client gets in, for those that ask before they try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// With a key of the app.
    Keys,
    /// With a token; where to get one, if that is known now.
    Tokens { token_endpoint: Option<String> },
}

/// What a client of SMART Backend Services needs: it is the authorization server's, so what that says of itself counts.
pub fn configuration(token_endpoint: &str, metadata: &Metadata) -> Value {
    let told = |told: &[String], usual: &[&str]| match told {
        [] => json!(usual),
        told => json!(told),
    };
    json!({
        "token_endpoint": token_endpoint,
        "token_endpoint_auth_methods_supported":
            told(&metadata.token_endpoint_auth_methods_supported, &["private_key_jwt"]),
        "token_endpoint_auth_signing_alg_values_supported":
            told(&metadata.token_endpoint_auth_signing_alg_values_supported, &["RS384", "ES384"]),
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["system/*.rs", "system/*.read"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
        "code_challenge_methods_supported": ["S256"],
    })
}

impl Security {
    /// `CapabilityStatement.rest.security`.
    pub fn statement(&self) -> Value {
        match self {
            Self::Keys => json!({
                "description": "Exports need a key of the app, in the header x-functions-key or the parameter code.",
            }),
            Self::Tokens { token_endpoint } => {
                let mut security = json!({
                    "service": [{ "coding": [{
                        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                        "code": "SMART-on-FHIR",
                        "display": "SMART-on-FHIR",
                    }] }],
                    "description": "Exports need a bearer token with scopes like system/*.rs (SMART Backend Services).",
                });
                if let Some(endpoint) = token_endpoint {
                    security["extension"] = json!([{
                        "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                        "extension": [{ "url": "token", "valueUri": endpoint }],
                    }]);
                }
                security
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_itself_counts() {
        let silent = configuration("https://login.example/token", &Metadata::default());
        assert_eq!(silent["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
        assert_eq!(silent["token_endpoint_auth_signing_alg_values_supported"], json!(["RS384", "ES384"]));
        let metadata = Metadata {
            token_endpoint_auth_methods_supported: vec!["client_secret_post".into(), "private_key_jwt".into()],
            ..Metadata::default()
        };
        let told = configuration("https://login.example/token", &metadata);
        assert_eq!(told["token_endpoint_auth_methods_supported"], json!(["client_secret_post", "private_key_jwt"]));
        assert_eq!(told["capabilities"][0], "client-confidential-asymmetric");
    }
}
