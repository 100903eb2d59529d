//! Connection strings of callers against any bytes: the grammar, and the policy behind it.
//!
//! What is read is an endpoint rebuilt from its parts and nothing else; what the policy lets through is an account of Azure
//! Storage, spelled out once more; a refusal repeats nothing of what was given.

#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use url::Url;

use account::azure_account;
use bulk::connection::{Connection, Credential, StorageAccount};
use bulk::policy::{CallerPolicy, Named};

#[allow(dead_code)]
#[path = "../../handler/bulk/mod.rs"]
mod bulk;

#[path = "../../tests/hostile/account.rs"]
mod account;

static POLICY: LazyLock<CallerPolicy> =
    LazyLock::new(|| CallerPolicy { named: Named::Any, private_addresses: true, ..CallerPolicy::default() });

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match Connection::parse(&text) {
        Ok(Connection::Account(account)) => check_account(&account, &text),
        Ok(Connection::DevelopmentStorage) => assert!(text.to_lowercase().contains("usedevelopmentstorage=true")),
        Err(problem) => assert!(!problem.is_empty()),
    }
    match POLICY.account(&STANDARD.encode(text.as_bytes())) {
        Ok(account) => {
            check_account(&account, &text);
            assert_eq!(azure_account(account.blob.as_str()), Some(account.name.as_str()));
        }
        Err(refusal) => {
            assert!([400, 403].contains(&refusal.status));
            // Two fixed texts at most, one within the other: none of it is the caller's.
            let told = &refusal.diagnostics;
            assert!(told.starts_with("The ") || told.starts_with("Development storage "), "{told}");
            assert!(told.len() < 200 && told.ends_with('.') && told.is_ascii(), "{told}");
        }
    }
    // The same bytes as the parameter's value itself.
    if let Ok(account) = POLICY.account(&text) {
        assert_eq!(azure_account(account.blob.as_str()), Some(account.name.as_str()));
    }
});

fn check_account(account: &StorageAccount, text: &str) {
    let name = account.name.as_bytes();
    assert!((3..=24).contains(&name.len()) && name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    for url in [Some(&account.blob), account.queue.as_ref()].into_iter().flatten() {
        assert!(["https", "http"].contains(&url.scheme()), "{url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        assert!(url.query().is_none() && url.fragment().is_none() && url.path().ends_with('/'), "{url}");
        let mut segments = url.path_segments().unwrap();
        assert!(segments.all(|segment| ![".", ".."].contains(&segment)) && !url.path().contains('%'), "{url}");
        assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(url), "it is not its own spelling");
    }
    match &account.credential {
        Credential::Key(secret) | Credential::Sas(secret) => {
            assert!(!secret.reveal().contains(['\r', '\n', '\0', '#']), "it would break a request");
            assert!(text.contains(secret.reveal()));
            let long = secret.reveal().len() > 24;
            assert!(!long || !format!("{account:?}").contains(secret.reveal()), "it is printed");
        }
        Credential::Identity => panic!("the identity of the app, from a caller's text"),
    }
}
