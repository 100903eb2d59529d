//! Tokens through the whole system: an authorization server, clients that prove themselves with keys of either kind, the
//! host with both kinds of package, and the handler between them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::system::evidence::{AUDIT, Evidence};
use crate::support::system::export::{Downloaded, completed, download_by, lines};
use crate::support::system::folder::{self, Folder};
use crate::support::system::http::{Answer, Http, until};
use crate::support::system::lines::assert_same;
use crate::support::system::storage::unique;
use crate::support::system::{System, handler, local};
use crate::support::tokens::SigningKey;

/// What `local up --authorization` says of its authorization server.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    pub issuer: String,
    token_endpoint: String,
    rotate: String,
    clients: Vec<Client>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    id: String,
    scopes: Vec<String>,
    algorithm: String,
    kid: String,
    private_key: String,
}

impl Authorization {
    /// SMART Backend Services: the client signs an assertion, and gets a token for it.
    async fn ask(&self, http: &Http, client: &str, scope: &str) -> Answer {
        let client = self.clients.iter().find(|known| known.id == client).unwrap();
        let key = SigningKey::of_pkcs8(&client.kid, &client.algorithm, &client.private_key);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let assertion = key.token(&json!({
            "iss": client.id, "sub": client.id, "aud": self.token_endpoint, "exp": now + 300, "jti": unique(),
        }));
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let scope = scope.replace('/', "%2F").replace('*', "%2A").replace(' ', "+");
        let form = format!(
            "grant_type=client_credentials&client_assertion_type={kind}&client_assertion={assertion}&scope={scope}"
        );
        let post = |request: reqwest::RequestBuilder| {
            request.header("content-type", "application/x-www-form-urlencoded").body(form)
        };
        http.send(Method::POST, &self.token_endpoint, post).await
    }

    async fn token(&self, http: &Http, client: &str) -> String {
        let scopes = self.clients.iter().find(|known| known.id == client).unwrap().scopes.join(" ");
        let answer = self.ask(http, client, &scopes).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }
}

async fn with(http: &Http, method: Method, url: &str, token: &str) -> Answer {
    http.send(method, url, |request| request.bearer_auth(token)).await
}

/// Exports with this token, to the end.
async fn exported(http: &Http, system: &System, token: &str) -> (String, Value) {
    let accepted = with(http, Method::GET, &format!("{}/$export", system.ready.base), token).await;
    assert_eq!(accepted.status, 202, "{:?}", accepted.body);
    let status = accepted.header("content-location").to_owned();
    let manifest = until("the export is complete", async || {
        let answer = with(http, Method::GET, &status, token).await;
        assert!([200, 202].contains(&answer.status), "{:?}", answer.body);
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    (status, manifest)
}

/// Downloads every output file with this token. None of them is there without one, and the token goes no further than to
/// our own server: storage would refuse it beside a signature.
async fn download(http: &Http, manifest: &Value, token: &str) -> Vec<Downloaded> {
    assert_eq!(manifest["requiresAccessToken"], true);
    download_by(manifest, async |url| {
        http.get(url).await.refusal(401);
        with(http, Method::GET, url, token).await
    })
    .await
}

#[tokio::test]
async fn clients_export_with_tokens_that_they_get_for_their_keys() {
    let data = Folder::of_oddities();
    let http = Http::new();
    let audit = format!("EXPORT_AUDIT_CONTAINER={AUDIT}");
    let system = System::up(&["--authorization", "--data", data.path(), "--set", &audit, "--set", "EXPORT_LOG=debug"]);
    let base = &system.ready.base;
    let authority = system.ready.authorization.clone().expect("an authorization server");

    let discovered = http.get(&format!("{base}/.well-known/smart-configuration")).await;
    assert_eq!((discovered.status, discovered.header("content-type")), (200, "application/json"));
    assert_eq!(discovered.json()["token_endpoint"], authority.token_endpoint.as_str());

    let [everything, patients, administrator] = [
        authority.token(&http, "everything").await,
        authority.token(&http, "patients").await,
        authority.token(&http, "administrator").await,
    ];
    for token in [&everything, &patients, &administrator] {
        system.must_not_show(|secrets| secrets.with_token(token));
    }
    let (status, manifest) = exported(&http, &system, &everything).await;
    assert_same(&folder::lines(), &lines(&download(&http, &manifest, &everything).await));
    let file = manifest["output"][0]["url"].as_str().unwrap().to_owned();

    // A key of the other kind, and fewer rights.
    let (_, manifest) = exported(&http, &system, &patients).await;
    let told = &manifest["error"];
    assert_eq!(told.as_array().map(Vec::len), Some(1), "that it was reduced: {told}");
    let expected: Vec<String> = folder::lines().into_iter().filter(|line| line.contains(r#""Patient""#)).collect();
    assert_same(&expected, &lines(&download(&http, &manifest, &patients).await));
    with(&http, Method::GET, &file, &patients).await.refusal(404);
    let refused = with(&http, Method::GET, &format!("{base}/$export?_type=Encounter"), &patients).await;
    refused.refusal(403);
    assert!(refused.header("www-authenticate").contains("insufficient_scope"));

    for method in [Method::GET, Method::POST, Method::DELETE] {
        with(&http, method.clone(), &status, &patients).await.refusal(404);
        let answer = http.send(method, &status, |request| request).await;
        answer.refusal(401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    let twice = |request: reqwest::RequestBuilder| request.bearer_auth(&everything).bearer_auth(&everything);
    http.send(Method::GET, &status, twice).await.refusal(401);
    assert_eq!(with(&http, Method::DELETE, &status, &administrator).await.status, 202);

    let mut evidence = Evidence::default();
    evidence.add("the manifest", manifest.to_string());
    evidence.answer("a refusal", &refused);
    evidence.collect(&http, &system).await;
    assert!(evidence.of(AUDIT).contains("everything@"), "the test looks in the wrong place");
    evidence.assert_none(&system.canaries());
}

#[tokio::test]
async fn a_server_may_change_its_keys_while_exports_run() {
    let http = Http::new();
    let system = System::up(&["--authorization", "--patients", "1"]);
    let authority = system.ready.authorization.clone().unwrap();
    let before = authority.token(&http, "everything").await;
    let (status, _) = exported(&http, &system, &before).await;

    for _ in 0..2 {
        http.send(Method::POST, &authority.rotate, |request| request).await;
        let after = authority.token(&http, "everything").await;
        // The handler has asked the server a moment ago: it does not ask again at once, whoever wants it to.
        let patience = Duration::from_secs(30);
        let polled = crate::support::system::http::until_within(patience, "the new key is known", async || {
            let answer = with(&http, Method::GET, &status, &after).await;
            assert!([200, 401].contains(&answer.status), "{:?}", answer.body);
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(polled.await.status, 200);
    }
    with(&http, Method::GET, &status, &before).await.refusal(401);
}

#[tokio::test]
async fn the_server_stands_in_for_one_that_is_strict() {
    let http = Http::new();
    let system = System::up(&["--authorization", "--patients", "1", "--key", OPERATOR]);
    let authority = system.ready.authorization.clone().unwrap();
    let refused = authority.ask(&http, "patients", "system/*.rs").await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_scope")));
    let printed = Command::new(local()).args(["token", &authority.issuer, "--client", "patients"]).output().unwrap();
    assert!(printed.status.success());
    let token = String::from_utf8(printed.stdout).unwrap();
    let accepted = with(&http, Method::GET, &format!("{}/$export", system.ready.base), token.trim()).await;
    assert_eq!(accepted.status, 202, "a person gets a token as well");

    // A token is no key: how it stands with the service is for its operators, in this package as well.
    system.must_not_show(|secrets| secrets.with("the key of an operator", OPERATOR).with_token(token.trim()));
    let (health, operator) = (format!("{}/_operations/health", system.ready.base), Http::with_key(OPERATOR));
    let none = [http.get(&health).await, with(&http, Method::GET, &health, token.trim()).await];
    assert!(none.iter().all(|answer| answer.status == 401 && answer.body.is_empty()), "the host asks for a key");
    let known = [operator.get(&health).await, with(&operator, Method::GET, &health, "no-token").await];
    assert!(known.iter().all(|answer| answer.status == 200), "{:?}", known.map(|answer| answer.status));
    system.judge();
}

const ALICE: &str = "Canary-b2d4-key-of-alice";
const BOB: &str = "Canary-b2d4-key-of-bob";
const OPERATOR: &str = "Canary-b2d4-key-of-an-operator";

#[tokio::test]
async fn the_package_for_keys_asks_for_keys() {
    let http = Http::new();
    let system = System::up(&["--patients", "1", "--key", ALICE, "--key", BOB]);
    system.must_not_show(|secrets| secrets.with("a key", ALICE).with("another key", BOB));
    let base = &system.ready.base;
    let url = format!("{base}/$export");
    for key in ["", "no-key"] {
        let answer = http.send(Method::GET, &url, |request| request.header("x-functions-key", key)).await;
        assert_eq!((answer.status, answer.body.len()), (401, 0), "the host refuses it, with no word");
    }
    assert_eq!(http.get(&url).await.status, 401);
    assert_eq!(http.get(&format!("{base}/metadata")).await.status, 200);
    let status = http.get(&format!("{url}?code={ALICE}")).await.header("content-location").to_owned();
    assert!(!status.contains(ALICE));
    http.send(Method::GET, &status, |request| request.header("x-functions-key", BOB)).await.refusal(404);
    let alice = format!("{status}?code={ALICE}");
    let manifest = completed(&http, &alice).await;
    system.canaries().assert_none_in("the manifest", &manifest.to_string());
    system.assert_keeps_no_marker(&http).await;
}

/// Somebody deploys the package for tokens, and leaves the settings at keys: nobody would ask for anything.
#[test]
fn an_app_that_would_be_open_does_not_start() {
    let folder = Folder::new();
    let mut package = Command::new(local());
    package.args(["package", "--authorization", "oauth", "--out", folder.path(), "--handler"]).arg(handler());
    let built = package.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let app = Path::new(folder.path()).join("app");
    // Its port is taken: a handler that gets as far as that says so, and ends.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let start = |more: &[(&str, &str)]| {
        let settings = [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
            ("FhirServer__Operations__Export__Enabled", "true"),
            ("FhirServer__Operations__Export__StorageAccountConnection", "AccountName=example;AccountKey=a2V5"),
            ("CosmosDb__Host", "https://example.documents.azure.com/"),
            ("AzureWebJobsStorage__accountName", "example"),
            ("WEBSITE_HOSTNAME", "example.azurewebsites.net"),
            ("EXPORT_WATCH_SCHEDULE", "*/30 * * * * *"),
        ];
        let mut command = Command::new(handler());
        command.env_clear().envs(settings).envs(more.iter().copied()).env("FUNCTIONS_APP_ROOT_PATH", &app);
        let ended = command.output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    };
    let told = start(&[]);
    assert!(
        told.contains("ExportStart, ExportStartGroup, ExportStartPatient, ExportStatus") && told.contains("authLevel"),
        "{told}"
    );
    // With tokens it goes on.
    let oauth = [
        ("EXPORT_AUTHORIZATION", "oauth"),
        ("EXPORT_OAUTH_ISSUERS", "https://login.example/"),
        ("EXPORT_OAUTH_AUDIENCES", "https://export.example"),
    ];
    let told = start(&oauth);
    assert!(told.contains("in use") && !told.contains("authLevel"), "{told}");
    let public = fs::read_to_string(app.join("ExportWorker/function.json")).unwrap();
    assert!(!public.contains("anonymous"), "queue functions have no level");
}
