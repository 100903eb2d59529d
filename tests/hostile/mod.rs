//! Destinations that are meant to lead us elsewhere: none of them gets a connection outside the policy for callers.

mod account;
mod corpus;
mod issuers;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use azure_core::http::{HttpClient, Method, Request, Url};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fhir_export::azure::{Guard, Lookup};
use fhir_export::bulk::address::Reach;
use fhir_export::bulk::connection::Connection;
use fhir_export::bulk::policy::{CallerPolicy, Named};
use tokio::net::TcpListener;

use account::azure_account;

fn policy() -> CallerPolicy {
    CallerPolicy { named: Named::Any, ..CallerPolicy::default() }
}

/// A server that must not hear anything, and names that all lead to it.
struct Trap {
    listener: TcpListener,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Trap {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), asked: Arc::default() }
    }

    /// Every name leads to these addresses, call by call; the last ones stay.
    fn lookup(&self, answers: Vec<Vec<SocketAddr>>) -> Lookup {
        let (asked, answers) = (Arc::clone(&self.asked), Mutex::new(answers));
        Arc::new(move |name| {
            asked.lock().unwrap().insert(name);
            let mut answers = answers.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            Box::pin(async move { Ok(answer) })
        })
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Whoever connected is in the queue of the listener by now: what is connected to is accepted at once.
    async fn heard_something(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.listener.accept()).await.is_ok()
    }
}

async fn get(guard: &Guard, url: &str) -> bool {
    let request = Request::new(url.parse().unwrap(), Method::Get);
    // An address of the internet may never answer.
    let answer = tokio::time::timeout(Duration::from_secs(2), guard.execute_request(&request)).await;
    matches!(answer, Ok(Ok(_)))
}

#[tokio::test]
async fn no_hostile_destination_gets_a_connection_outside_the_policy() {
    let corpus = corpus::destinations();
    assert!(corpus.len() >= 2000, "{} destinations", corpus.len());
    let trap = Trap::new().await;
    let guard = Guard::new(policy(), trap.lookup(vec![vec![trap.address()]])).unwrap();
    let mut admitted = 0;
    for connection in &corpus {
        let account = match policy().account(&STANDARD.encode(connection)) {
            Ok(account) => account,
            Err(rejection) => {
                assert!([400, 403].contains(&rejection.status), "{connection:?}");
                let told = rejection.outcome().to_string();
                assert!(!told.contains("CANARY"), "{connection:?} is answered {told}");
                continue;
            }
        };
        admitted += 1;
        assert!(azure_account(account.blob.as_str()).is_some(), "{connection:?} became {}", account.blob);
        assert!(!get(&guard, account.blob.as_str()).await, "{connection:?}");
    }
    assert!(admitted > 0, "a corpus without one honest destination proves nothing");
    // Past the policy, straight to the connector.
    for url in corpus::urls().iter().filter_map(|url| Url::parse(url).ok()) {
        assert!(!get(&guard, url.as_str()).await, "{url}");
    }
    assert!(!trap.heard_something().await);
    let asked = trap.asked.lock().unwrap();
    let host = |name: &String| azure_account(&format!("https://{name}/")).is_some();
    assert!(!asked.is_empty() && asked.iter().all(host), "{asked:?}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed() {
    let inside = [
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "168.63.129.16",
        "10.0.0.4",
        "100.64.0.1",
        "::1",
        "::",
        "fd00::1",
        "fe80::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:0:127.0.0.1",
        "::ffff:168.63.129.16",
        "::ffff:10.0.0.4",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::127.0.0.1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2001:0:7f00:1::1",
    ];
    for address in inside {
        let trap = Trap::new().await;
        let address = SocketAddr::new(address.parse().unwrap(), trap.address().port());
        let public: SocketAddr = "20.60.1.2:443".parse().unwrap();
        // Alone, or hidden among others: then none of them is connected to.
        for answer in [vec![address], vec![public, address], vec![address, public]] {
            let guard = Guard::new(policy(), trap.lookup(vec![answer])).unwrap();
            assert!(!get(&guard, "https://example.blob.core.windows.net/container/blob").await, "{address}");
        }
        assert!(!trap.heard_something().await, "{address}");
    }
}

#[tokio::test]
async fn a_private_address_is_for_accounts_on_the_list() {
    let listed = CallerPolicy { named: Named::Listed, accounts: vec!["ours".into()], ..CallerPolicy::default() };
    let private = CallerPolicy { private_addresses: true, ..listed.clone() };
    let reach = |policy: &CallerPolicy, name: &str| {
        policy.admits(&format!("https://{name}.blob.core.windows.net/").parse().unwrap())
    };
    assert_eq!(reach(&listed, "ours"), Ok(Reach::Public));
    assert_eq!(reach(&private, "ours"), Ok(Reach::Private));
    assert!(reach(&private, "theirs").is_err());
    let any = CallerPolicy { named: Named::Any, ..private };
    assert_eq!(reach(&any, "theirs"), Ok(Reach::Public));
}

#[test]
fn honest_connection_strings_are_understood() {
    for honest in corpus::HONEST {
        assert!(matches!(Connection::parse(honest), Ok(Connection::Account(_))), "{honest}");
        assert!(policy().account(&STANDARD.encode(honest)).is_ok(), "{honest}");
    }
}
