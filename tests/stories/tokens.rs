//! Who gets in where tokens are asked for: every endpoint by every kind of token, and what the token is good for.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fhir_export::bulk::job::State;
use fhir_export::functions::{Delivery, Settings};
use fhir_export::ports::ErrorKind;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json as body, told};
use crate::support::exported::download;
use crate::support::gate::Fault;
use crate::support::host::{Answer, Host};
use crate::support::issuers::{AUDIENCE, ISSUER, with_tokens};
use crate::support::tokens::{SigningKey, token};
use crate::support::world::{PUBLIC_URL, World};

/// Making an RSA key takes its time: they are made once.
struct Keys {
    rsa: SigningKey,
    p256: SigningKey,
    p384: SigningKey,
    next: SigningKey,
    strangers: SigningKey,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: SigningKey::rsa("rsa-1"),
    p256: SigningKey::p256("ec-256"),
    p384: SigningKey::p384("ec-1"),
    next: SigningKey::p384("ec-2"),
    strangers: SigningKey::p384("ec-1"),
});

fn started() -> (World, Host) {
    let world = World::new();
    world.state().servers.rotate(&[&KEYS.rsa, &KEYS.p256, &KEYS.p384]);
    let host = Host::new(&world, with_tokens());
    (world, host)
}

/// What the authorization server would say now of a client with these scopes.
fn claims(world: &World, client: &str, scope: &str) -> Value {
    let now = world.now().unix_seconds();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "client_id": client, "sub": client, "scope": scope,
        "iat": now - 1.0, "nbf": now - 1.0, "exp": now + 300.0,
    })
}

fn with(mut claims: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn good(world: &World, client: &str, scope: &str) -> String {
    KEYS.p384.token(&claims(world, client, scope))
}

fn request(host: &mut Host, method: &'static str, path: &str, token: Option<&str>) -> Answer {
    match token {
        Some(token) => host.request(method, path, &[("authorization", &format!("Bearer {token}"))]),
        None => host.request(method, path, &[]),
    }
}

fn start(host: &mut Host, token: &str) -> Export {
    Export::accepted(&request(host, "GET", "/$export", Some(token)))
}

/// Every token that must not let in: its name, itself, and what is told.
fn bad_tokens(world: &World) -> Vec<(&'static str, Option<String>, &'static str)> {
    let claims = claims(world, "alice", "system/*.rs");
    let now = world.now().unix_seconds();
    let es384 = |claims: &Value| KEYS.p384.token(claims);
    let mut cut = es384(&claims);
    cut.truncate(cut.len() - 4);
    let other = es384(&with(claims.clone(), json!({ "scope": "system/Patient.rs" })));
    let swapped = {
        let (own, foreign) = (es384(&claims), other);
        let (signed, _) = own.rsplit_once('.').unwrap();
        format!("{signed}.{}", foreign.rsplit_once('.').unwrap().1)
    };
    let none = |alg: &str| token(&json!({ "alg": alg, "kid": "ec-1" }), &claims, |_| Vec::new());
    // The public key, as a verifier that confuses algorithms would take it for a secret.
    let secret = KEYS.rsa.jwk().to_string();
    let hs256 = token(&json!({ "alg": "HS256", "kid": "rsa-1" }), &claims, |text| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    });
    let header = |more: Value| with(json!({ "alg": "ES384", "kid": "ec-1", "typ": "JWT" }), more);
    let signed = |header: Value| token(&header, &claims, |text| KEYS.p384.sign("ES384", text));
    let own_jwk = header(json!({ "kid": "mine", "jwk": KEYS.strangers.jwk(), "jku": "https://evil.example/keys" }));
    let but = |more: Value| Some(es384(&with(claims.clone(), more)));
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        Some(es384(&claims))
    };
    vec![
        ("no token", None, "needed"),
        ("an empty one", Some(String::new()), "needed"),
        ("no JWT", Some("opaque".into()), "no signed JWT"),
        ("bad signature", Some(cut), "signature"),
        ("the signature of another token", Some(swapped), "signature"),
        ("a stranger's key of the same name", Some(KEYS.strangers.token(&claims)), "signature"),
        ("alg none", Some(none("none")), "algorithm"),
        ("alg None", Some(none("None")), "algorithm"),
        ("HS256 with the public key", Some(hs256), "algorithm"),
        ("PS256", Some(token(&json!({ "alg": "PS256", "kid": "rsa-1" }), &claims, |_| vec![0; 256])), "algorithm"),
        ("an algorithm of another curve", Some(KEYS.p384.token_by("ES256", &claims)), "signature"),
        ("an algorithm of another kind", Some(KEYS.p384.token_by("RS384", &claims)), "signature"),
        ("no kid", Some(token(&json!({ "alg": "ES384" }), &claims, |text| KEYS.p384.sign("ES384", text))), "its key"),
        ("unknown kid", Some(KEYS.next.token(&claims)), "signature"),
        (
            "a key that it brings along",
            Some(token(&own_jwk, &claims, |text| KEYS.strangers.sign("", text))),
            "signature",
        ),
        ("critical extension", Some(signed(header(json!({ "crit": ["exp"] })))), "kind"),
        ("a logout token", Some(signed(header(json!({ "typ": "logout+jwt" })))), "kind"),
        ("wrong audience", but(json!({ "aud": "https://other.example" })), "audience"),
        ("wrong audiences", but(json!({ "aud": ["a", "b"] })), "audience"),
        ("part of an audience", but(json!({ "aud": format!("{AUDIENCE}.evil.example") })), "audience"),
        ("no audience", without("aud"), "audience"),
        ("expired", but(json!({ "exp": now - 61.0 })), "expired"),
        ("never expires", without("exp"), "exp"),
        ("expires as text", but(json!({ "exp": "9999999999" })), "exp"),
        ("not yet valid", but(json!({ "nbf": now + 61.0 })), "not valid yet"),
        ("issued in the future", but(json!({ "iat": now + 61.0 })), "not valid yet"),
        ("wrong issuer", but(json!({ "iss": "https://evil.example" })), "issuer"),
        ("issuer with a slash", but(json!({ "iss": format!("{ISSUER}/") })), "issuer"),
        ("no issuer", without("iss"), "iss"),
        ("no client", but(json!({ "client_id": null, "sub": "" })), "client"),
        ("a client with a line break", but(json!({ "client_id": "a\nb" })), "client"),
        ("too long", but(json!({ "padding": "x".repeat(16 * 1024) })), "too long"),
    ]
}

/// Endpoints for which a token is needed, on an export of alice's.
const GUARDED: [(&str, &str); 7] = [
    ("GET", "/$export"),
    ("POST", "/$export"),
    ("PUT", "/$export"),
    ("GET", "status"),
    ("DELETE", "status"),
    ("POST", "status"),
    ("GET", "file"),
];

/// Endpoints for everyone.
const PUBLIC: [&str; 4] = ["/", "/metadata", "/OperationDefinition/export", "/.well-known/smart-configuration"];

#[test]
fn no_endpoint_lets_in_by_a_bad_token() {
    let (world, mut host) = started();
    let export = start(&mut host, &good(&world, "alice", "system/*.rs"));
    for (name, token, hint) in bad_tokens(&world) {
        for (method, path) in GUARDED {
            let path = match path {
                "status" => export.status.clone(),
                "file" => format!("{}/files/Patient-0-0-1.ndjson", export.status),
                path => path.to_owned(),
            };
            let answer = request(&mut host, method, &path, token.as_deref());
            assert_eq!(answer.status(), 401, "{method} {path} with {name}");
            assert!(told(&answer).contains(hint), "{name}: {}", told(&answer));
            let expected = if name == "expired" { "expired" } else { "login" };
            assert_eq!(body(&answer)["issue"][0]["code"], expected, "{name}");
            let how = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(how.starts_with("Bearer realm="), "{how}");
            assert_eq!(how.contains("error=\"invalid_token\""), hint != "needed", "{name}: {how}");
        }
    }
    assert!(export.is_open(&world), "nobody ended it");
    assert_eq!(world.state().container.history("job").len(), 1, "and nothing was started");
}

#[test]
fn what_is_for_everyone_is_there_with_any_token_and_with_none() {
    let (world, mut host) = started();
    for path in PUBLIC {
        let mut tokens: Vec<_> = bad_tokens(&world).into_iter().map(|(name, token, _)| (name, token)).collect();
        tokens.push(("the right one", Some(good(&world, "alice", "system/*.rs"))));
        for (name, token) in tokens {
            assert_eq!(request(&mut host, "GET", path, token.as_deref()).status(), 200, "{path} with {name}");
        }
    }
}

/// The host asks for a key of the app before it passes this on, whichever package is deployed; the handler asks for nothing
/// more, and believes no token either.
#[test]
fn how_it_stands_with_the_dependencies_is_for_operators_and_no_token_matters() {
    let (world, mut host) = started();
    let mut tokens: Vec<_> = bad_tokens(&world).into_iter().map(|(name, token, _)| (name, token)).collect();
    for (name, client, scope) in
        [("the right one", "alice", "system/*.rs"), ("other client", "bob", "system/*.rs"), ("no scope", "alice", "")]
    {
        tokens.push((name, Some(good(&world, client, scope))));
    }
    for (name, token) in tokens {
        for (method, expected) in [("GET", 200), ("POST", 405), ("DELETE", 405)] {
            let answer = request(&mut host, method, "/_operations/health", token.as_deref());
            assert_eq!(answer.status(), expected, "{method} with {name}");
        }
    }
    assert_eq!(asked(&world), 0, "no token was looked at");
    assert!(world.state().audit.0.is_empty());
}

#[test]
fn a_flood_of_refused_tokens_leaves_a_few_records_and_their_number() {
    let (world, mut host) = started();
    let flood = |host: &mut Host, count: u32| {
        (0..count).for_each(|_| assert_eq!(request(host, "GET", "/$export", Some("opaque")).status(), 401));
        std::mem::take(&mut world.state().audit.0)
    };
    let recorded = flood(&mut host, 500);
    assert_eq!(recorded.len(), 10, "{recorded:?}");
    assert!(recorded.iter().all(|record| record["outcomeDesc"] == "401 login"));
    let start = world.now();
    host.wait(Duration::from_secs(60));
    let recorded = flood(&mut host, 500);
    assert_eq!(recorded.len(), 1 + 10, "{recorded:?}");
    assert_eq!(recorded[0]["outcomeDesc"], "401 login, and so 490 more");
    assert_eq!(recorded[0]["period"], json!({ "start": start.instant(), "end": world.now().instant() }));
}

/// Tokens that are good, but not for this.
#[test]
fn every_endpoint_asks_whose_token_it_is_and_for_what() {
    let (world, mut host) = started();
    let alice = good(&world, "alice", "system/*.rs");
    for (name, token, kick_off, status) in [
        ("right client", alice.clone(), 202, 202),
        (
            "the same client with another token of another key",
            { KEYS.rsa.token(&claims(&world, "alice", "system/*.read")) },
            202,
            202,
        ),
        ("right client, fewer types", good(&world, "alice", "system/Patient.rs"), 202, 403),
        ("right client, no scope", good(&world, "alice", ""), 403, 403),
        ("right client, scope of a user", good(&world, "alice", "user/*.rs patient/*.rs openid"), 403, 403),
        ("right client, only reading", good(&world, "alice", "system/*.r"), 403, 403),
        ("right client, a part of a type", good(&world, "alice", "system/Patient.rs?gender=female"), 403, 403),
        ("other client", good(&world, "bob", "system/*.rs"), 202, 404),
        ("other client, no scope", good(&world, "bob", ""), 403, 404),
    ] {
        let export = start(&mut host, &alice);
        let expect = |answer: Answer, expected: u16, what: &str| {
            assert_eq!(answer.status(), expected, "{what} by {name}: {:?}", answer.body());
            let scoped = answer.headers().get("www-authenticate").map(|how| how.to_str().unwrap().to_owned());
            let insufficient = scoped.is_some_and(|how| how.contains("error=\"insufficient_scope\", scope=\"system/"));
            assert_eq!(insufficient, expected == 403, "{what} by {name}");
        };
        let bearer = format!("Bearer {token}");
        expect(request(&mut host, "GET", "/$export", Some(&token)), kick_off, "GET kick-off");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        let posted = host.post("/$export", &headers, r#"{"resourceType":"Parameters"}"#);
        expect(posted, kick_off, "POST kick-off");
        expect(request(&mut host, "GET", &export.status, Some(&token)), status, "GET status");
        let resumed = if status == 202 { 409 } else { status };
        expect(request(&mut host, "POST", &export.status, Some(&token)), resumed, "POST status");
        expect(request(&mut host, "DELETE", &export.status, Some(&token)), status, "DELETE status");
        let ended = matches!(export.stored(&world).unwrap().state, State::Cancelled { .. });
        assert_eq!(ended, status == 202, "{name}");
        // Everyone leaves room for the next.
        let jobs: Vec<_> = world.state().container.history("job").iter().map(|job| job["jobId"].clone()).collect();
        let admin = KEYS.p384.token(&with(claims(&world, "root", ""), json!({ "roles": ["Export.Admin"] })));
        for job in jobs {
            let path = format!("/_operations/export/{}", job.as_str().unwrap());
            request(&mut host, "DELETE", &path, Some(&admin));
        }
    }
}

#[test]
fn a_named_type_beyond_the_scopes_is_403_and_no_type_means_those_of_the_scopes() {
    let (world, mut host) = started();
    let patients = good(&world, "alice", "system/Patient.rs system/Group.read");
    let refused = request(&mut host, "GET", "/$export?_type=Patient,Observation", Some(&patients));
    assert_eq!(refused.status(), 403);
    assert_eq!(body(&refused)["issue"][0]["code"], "forbidden");
    assert!(told(&refused).contains("Observation"));
    let lenient = [("authorization", format!("Bearer {patients}")), ("prefer", "handling=lenient".into())];
    let lenient: Vec<(&str, &str)> = lenient.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(host.request("GET", "/$export?_type=Observation", &lenient).status(), 403);

    let accepted = request(&mut host, "GET", "/$export", Some(&patients));
    let export = Export::accepted(&accepted);
    let notes = body(&accepted)["issue"].to_string();
    assert!(notes.contains("Group, Patient") && notes.contains("suppressed"), "{notes}");
    let asked = export.stored(&world).unwrap().asked;
    assert_eq!(asked.types.unwrap().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["Group", "Patient"]);
    assert_eq!(asked.notes.len(), 1, "the same word is in the error file");
}

#[test]
fn files_are_for_those_who_may_read_the_export_and_for_nobody_else() {
    let (world, _) = started();
    let mut host = Host::new(&world, Settings { delivery: Delivery::Redirect, ..with_tokens() });
    Clinic::default().write(&world, ("Patient", "p"), Form::WithMeta, world.now().minus(Duration::from_secs(3600)));
    let export = start(&mut host, &good(&world, "alice", "system/*.rs"));
    assert_eq!(host.go_on_until(|world| !export.is_open(world)), Ok(()));
    let alice = good(&world, "alice", "system/*.rs");
    let manifest = body(&request(&mut host, "GET", &export.status, Some(&alice)));
    assert_eq!(manifest["requiresAccessToken"], true);
    let file = manifest["output"][0]["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap().to_owned();
    let admin = KEYS.p384.token(&with(claims(&world, "root", ""), json!({ "roles": ["Export.Admin"] })));
    for (token, status) in [
        (Some(alice), 307),
        (Some(good(&world, "alice", "system/Patient.rs")), 403),
        (Some(good(&world, "bob", "system/*.rs")), 404),
        (Some(admin), 403),
        (None, 401),
    ] {
        for method in ["GET", "HEAD"] {
            assert_eq!(request(&mut host, method, &file, token.as_deref()).status(), status, "{method}");
        }
    }
}

/// Whatever is in the store: no file tells anything of a type that the token does not cover.
#[test]
fn neither_deletions_nor_errors_tell_of_other_types() {
    let (world, mut host) = started();
    let mut clinic = Clinic::default();
    let at = world.now().minus(Duration::from_secs(3600));
    for of in ["Patient", "Observation"] {
        clinic.write(&world, (of, "stays"), Form::WithMeta, at);
        clinic.write(&world, (of, "goes"), Form::WithMeta, at);
        clinic.write(&world, (of, "broken"), Form::Broken, at);
        clinic.delete(&world, (of, "goes"), at);
    }
    let query = format!("/$export?_since={}", at.minus(Duration::from_secs(60)).instant());
    let export = Export::accepted(&request(&mut host, "GET", &query, Some(&good(&world, "a", "system/Patient.rs"))));
    assert_eq!(host.go_on_until(|world| !export.is_open(world)), Ok(()));
    let fresh = good(&world, "a", "system/Patient.rs");
    let manifest = body(&request(&mut host, "GET", &export.status, Some(&fresh)));
    let exported = download(&world, &export.job, &manifest).unwrap();
    assert_eq!(exported.lines.keys().collect::<Vec<_>>(), [&("Patient".to_owned(), "stays".to_owned())]);
    assert_eq!(exported.deleted, ["Patient/goes"]);
    let about: Vec<&str> = exported.told.iter().map(|told| told.about.as_str()).collect();
    assert_eq!(about, ["Patient/broken", "_type"]);
}

#[test]
fn roles_stand_for_scopes_and_an_administrator_ends_the_exports_of_others() {
    let (world, mut host) = started();
    let by_role = |roles: Value| KEYS.rsa.token_by("RS256", &with(claims(&world, "x", ""), json!({ "roles": roles })));
    let export = start(&mut host, &by_role(json!(["Export.All"])));
    assert_eq!(request(&mut host, "GET", "/$export", Some(&by_role(json!(["Export.Some"])))).status(), 403);

    let admin = KEYS.p256.token(&with(claims(&world, "root", ""), json!({ "roles": ["Export.Admin"] })));
    assert_eq!(request(&mut host, "GET", "/$export", Some(&admin)).status(), 403, "it may not read for that");
    assert_eq!(request(&mut host, "GET", &export.status, Some(&admin)).status(), 403);
    assert_eq!(request(&mut host, "DELETE", &export.status, Some(&admin)).status(), 202);
}

#[test]
fn clients_are_known_by_the_name_that_their_server_gives_them() {
    let (world, mut host) = started();
    for (more, expected) in [
        (json!({}), "alice"),
        (json!({ "client_id": null, "azp": "by-azp", "appid": "by-appid" }), "by-azp"),
        (json!({ "client_id": null, "appid": "by-appid" }), "by-appid"),
        (json!({ "client_id": null }), "subject"),
    ] {
        let claims = with(with(claims(&world, "alice", "system/*.rs"), json!({ "sub": "subject" })), more);
        let export = start(&mut host, &KEYS.p384.token(&claims));
        assert_eq!(export.stored(&world).unwrap().caller, format!("{expected}@{ISSUER}"));
    }
}

#[test]
fn a_token_is_good_by_clocks_that_differ_and_for_one_of_several_audiences() {
    let (world, mut host) = started();
    let now = world.now().unix_seconds();
    for more in [
        json!({ "exp": now - 59.0 }),
        json!({ "nbf": now + 59.0, "iat": now + 59.0 }),
        json!({ "aud": ["https://other.example", AUDIENCE] }),
        json!({ "scope": null, "scp": ["openid", "system/*.rs"] }),
        json!({ "scope": ["system/*.rs"] }),
    ] {
        let mut claims = with(claims(&world, "alice", "system/*.rs"), more.clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        start(&mut host, &KEYS.p384.token(&claims));
    }
    for algorithm in ["RS256", "RS384", "RS512"] {
        start(&mut host, &KEYS.rsa.token_by(algorithm, &claims(&world, algorithm, "system/*.rs")));
    }
}

#[test]
fn only_the_scheme_bearer_is_known_in_any_case() {
    let (world, mut host) = started();
    let bearer = format!("Bearer {}", good(&world, "alice", "system/*.rs"));
    let basic = bearer.replacen("Bearer", "Basic", 1);
    assert_eq!(host.request("GET", "/$export", &[("authorization", &basic)]).status(), 401);
    let lower = bearer.replacen("Bearer", "bearer", 1);
    assert_eq!(host.request("GET", "/$export", &[("authorization", &lower)]).status(), 202);
}

fn asked(world: &World) -> usize {
    world.state().gate.calls_named("issuers.document")
}

#[test]
fn keys_are_asked_for_once_and_again_when_the_server_has_new_ones() {
    let (world, mut host) = started();
    (0..5).for_each(|_| drop(start(&mut host, &good(&world, "alice", "system/*.rs"))));
    assert_eq!(asked(&world), 2, "the metadata, and the keys");

    host.wait(Duration::from_secs(20));
    world.state().servers.rotate(&[&KEYS.next]);
    start(&mut host, &KEYS.next.token(&claims(&world, "bob", "system/*.rs")));
    assert_eq!(asked(&world), 4);
    let old = good(&world, "bob", "system/*.rs");
    assert_eq!(request(&mut host, "GET", "/$export", Some(&old)).status(), 401, "a withdrawn key is worth nothing");
}

#[test]
fn a_withdrawn_key_is_believed_no_longer_than_ten_minutes() {
    let (world, mut host) = started();
    start(&mut host, &good(&world, "alice", "system/*.rs"));
    world.state().servers.rotate(&[&KEYS.next]);
    host.wait(Duration::from_secs(601));
    let old = good(&world, "alice", "system/*.rs");
    assert_eq!(request(&mut host, "GET", "/$export", Some(&old)).status(), 401);
}

#[test]
fn however_many_strange_tokens_come_the_server_is_asked_now_and_then() {
    let (world, mut host) = started();
    start(&mut host, &good(&world, "alice", "system/*.rs"));
    for _ in 0..30 {
        let strange = SigningKey::p384("strange").token(&claims(&world, "alice", "system/*.rs"));
        (0..5).for_each(|_| assert_eq!(request(&mut host, "GET", "/$export", Some(&strange)).status(), 401));
        host.wait(Duration::from_secs(1));
    }
    assert!(asked(&world) <= 2 + 2 * 4, "{} times in thirty seconds", asked(&world));
    for (name, token, _) in bad_tokens(&world).into_iter().filter(|(name, ..)| *name != "unknown kid") {
        let before = asked(&world);
        host.wait(Duration::from_secs(20));
        request(&mut host, "GET", "/$export", token.as_deref());
        let may_ask = ["a key that it brings along"].contains(&name);
        assert!(asked(&world) == before || may_ask, "{name}");
    }
}

#[test]
fn while_the_server_is_away_its_keys_are_good_for_an_hour() {
    let (world, mut host) = started();
    start(&mut host, &good(&world, "alice", "system/*.rs"));
    host.wait(Duration::from_secs(3500));
    host.break_next("issuers.document", "openid", Fault::OUTAGE);
    start(&mut host, &good(&world, "alice", "system/*.rs"));
    host.wait(Duration::from_secs(200));
    host.break_next("issuers.document", "openid", Fault::OUTAGE);
    let token = good(&world, "alice", "system/*.rs");
    let refused = request(&mut host, "GET", "/$export", Some(&token));
    assert_eq!(refused.status(), 503, "who cannot be checked is told to come again");
    assert!(refused.headers().contains_key("retry-after"));
    host.wait(Duration::from_secs(11));
    let token = good(&world, "alice", "system/*.rs");
    start(&mut host, &token);
}

#[test]
fn a_key_that_may_be_new_is_not_called_wrong_while_the_server_is_away() {
    let (world, mut host) = started();
    start(&mut host, &good(&world, "alice", "system/*.rs"));
    host.wait(Duration::from_secs(20));
    world.state().servers.rotate(&[&KEYS.next]);
    host.break_next("issuers.document", "openid", Fault::OUTAGE);
    let new = KEYS.next.token(&claims(&world, "alice", "system/*.rs"));
    assert_eq!(request(&mut host, "GET", "/$export", Some(&new)).status(), 503);
    start(&mut host, &good(&world, "alice", "system/*.rs"));
    host.wait(Duration::from_secs(11));
    start(&mut host, &KEYS.next.token(&claims(&world, "alice", "system/*.rs")));
}

#[test]
fn keys_are_taken_from_nobody_but_the_issuer() {
    let (world, mut host) = started();
    let metadata = json!({ "issuer": "https://evil.example", "jwks_uri": "https://login.example/keys" });
    world.state().servers.publish(&format!("{ISSUER}/.well-known/openid-configuration"), &metadata);
    let token = good(&world, "alice", "system/*.rs");
    assert_eq!(request(&mut host, "GET", "/$export", Some(&token)).status(), 503);
}

#[test]
fn a_server_that_knows_only_oauth_is_found_as_well() {
    let world = World::new();
    let keys = json!({ "keys": [KEYS.p384.jwk(), { "kty": "oct", "kid": "secret", "k": "c2VjcmV0" }, "nonsense"] });
    world.state().servers.publish("https://login.example/keys", &keys);
    let metadata = json!({ "issuer": ISSUER, "jwks_uri": "https://login.example/keys" });
    world.state().servers.publish("https://login.example/.well-known/oauth-authorization-server/tenant", &metadata);
    let mut host = Host::new(&world, with_tokens());
    start(&mut host, &good(&world, "alice", "system/*.rs"));
    let secret = token(&json!({ "alg": "HS256", "kid": "secret" }), &claims(&world, "a", "system/*.rs"), |_| {
        URL_SAFE_NO_PAD.decode("c2VjcmV0").unwrap()
    });
    assert_eq!(request(&mut host, "GET", "/$export", Some(&secret)).status(), 401);
}

#[test]
fn clients_discover_where_they_get_tokens() {
    let (_, mut host) = started();
    let found = host.get("/.well-known/smart-configuration");
    assert_eq!(
        (found.status().as_u16(), &found.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let found = body(&found);
    assert_eq!(found["token_endpoint"], "https://login.example/token");
    for (name, value) in [
        ("grant_types_supported", "client_credentials"),
        ("token_endpoint_auth_methods_supported", "private_key_jwt"),
        ("token_endpoint_auth_signing_alg_values_supported", "RS384"),
        ("code_challenge_methods_supported", "S256"),
        ("capabilities", "client-confidential-asymmetric"),
        ("capabilities", "permission-v1"),
        ("capabilities", "permission-v2"),
        ("scopes_supported", "system/*.read"),
    ] {
        assert!(found[name].as_array().is_some_and(|values| values.contains(&json!(value))), "{name}");
    }
    let statement = body(&host.get("/metadata"));
    let extension = &statement["rest"][0]["security"]["extension"][0];
    assert_eq!(extension["extension"][0], json!({ "url": "token", "valueUri": "https://login.example/token" }));
    assert_eq!(host.request("POST", "/.well-known/smart-configuration", &[]).status(), 405);
}

#[test]
fn what_cannot_be_found_out_now_is_left_out_of_the_statement() {
    let (_, mut host) = started();
    host.break_next("issuers.document", "openid", Fault::Refuse(ErrorKind::Unavailable));
    let statement = body(&host.get("/metadata"));
    assert_eq!(statement["rest"][0]["security"]["service"][0]["coding"][0]["code"], "SMART-on-FHIR");
    assert_eq!(statement["rest"][0]["security"]["extension"], Value::Null);
}

#[test]
fn a_link_shows_the_page_for_a_while_and_opens_nothing_else() {
    let (world, mut host) = started();
    super::clinics::patients(&world, 3);
    let alice = good(&world, "alice", "system/*.rs");
    let export = start(&mut host, &alice);
    const PAGE: (&str, &str) = ("accept", "text/html");
    let refused = host.request("GET", &export.status, &[PAGE]);
    let told = String::from_utf8_lossy(refused.body()).into_owned();
    assert_eq!(refused.status(), 401);
    assert!(told.contains("local watch --open") && !told.contains("class=\"state"), "{told}");

    let asked = |host: &mut Host, token: &str| {
        let bearer = format!("Bearer {token}");
        host.request("GET", &export.status, &[("accept", "text/uri-list"), ("authorization", &bearer)])
    };
    let bob = good(&world, "bob", "system/*.rs");
    assert_eq!(asked(&mut host, &bob).status(), 404);
    let link = String::from_utf8(asked(&mut host, &alice).body().to_vec()).unwrap();
    let link = link.trim_end().strip_prefix(PUBLIC_URL).unwrap().to_owned();
    export.close(&mut host);
    let page = host.request("GET", &link, &[PAGE]);
    let shown = String::from_utf8_lossy(page.body()).into_owned();
    assert!(page.status() == 200 && shown.contains("state completed"), "{shown}");
    assert!(!shown.contains("/files/") && !shown.contains("sig=") && !shown.contains("<form"), "{shown}");
    assert!(!shown.contains("view=cancel") && shown.contains("Patient-"), "{shown}");

    // The link is for that page alone: no JSON, no file, no figures, no end, no other export.
    let ticket = link.split_once('?').unwrap().1.to_owned();
    let other = start(&mut host, &alice);
    assert_eq!(host.get(&link).status(), 401);
    assert_eq!(host.request("GET", &link, &[("accept", "application/vnd.fhir-export.figures+json")]).status(), 401);
    assert_eq!(host.request("GET", &link, &[("accept", "text/uri-list")]).status(), 401);
    assert_eq!(host.delete(&link).status(), 401);
    assert_eq!(host.get(&format!("{}/files/0-0-Patient?{ticket}", export.status)).status(), 401);
    assert_eq!(host.request("GET", &format!("{}?{ticket}", other.status), &[PAGE]).status(), 401);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let posted = host.post(&link, &[PAGE, form], &format!("action=cancel&{}", ticket.replace("ticket", "token")));
    assert_eq!(posted.status(), 401);
    host.wait(Duration::from_secs(601));
    assert_eq!(host.request("GET", &link, &[PAGE]).status(), 401, "its time is over");
}

#[test]
fn with_a_token_the_page_is_what_the_api_is() {
    let (world, mut host) = started();
    let (alice, bob) = (good(&world, "alice", "system/*.rs"), good(&world, "bob", "system/*.rs"));
    let export = start(&mut host, &alice);
    let page = |host: &mut Host, token: &str| {
        let bearer = format!("Bearer {token}");
        host.request("GET", &export.status, &[("accept", "text/html"), ("authorization", &bearer)]).status().as_u16()
    };
    assert_eq!([page(&mut host, &alice), page(&mut host, &bob)], [200, 404]);
    let narrow = good(&world, "alice", "system/Patient.rs");
    assert_eq!(page(&mut host, &narrow), 403, "as the manifest is");
}

#[test]
fn a_client_lists_its_own_exports_and_an_administrator_everybodys() {
    let (world, mut host) = started();
    let [alice, bob] = ["alice", "bob"].map(|name| good(&world, name, "system/*.rs"));
    let exports = [start(&mut host, &alice), start(&mut host, &bob)];
    let listed = |host: &mut Host, token: &str| {
        let list = body(&request(host, "GET", "/_operations/exports", Some(token))).to_string();
        [0, 1].map(|number| list.contains(exports[number].job.as_str()))
    };
    let administrator = good(&world, "operator", "Export.Admin");
    assert_eq!(listed(&mut host, &alice), [true, false]);
    assert_eq!(listed(&mut host, &bob), [false, true]);
    assert_eq!(listed(&mut host, &administrator), [true, true]);
    assert_eq!(request(&mut host, "GET", "/_operations/exports", None).status(), 401);
    let page = host.request("GET", "/_operations/exports", &[("accept", "text/html")]);
    assert_eq!(page.status(), 401);
}
