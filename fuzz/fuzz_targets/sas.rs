//! Shared access signatures of callers against any bytes: what is read of them, and what is made beside them.
//!
//! Whatever comes, it is accepted or refused; what is accepted has a signature, has not ended, and asks for no operation of
//! its own; what we make of a key for any name is accepted until its end.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use url::Url;
use url::form_urlencoded;

use bulk::sas::{self, Opens};
use bulk::secret::Secret;
use bulk::timestamp::Timestamp;

#[allow(dead_code)]
#[path = "../../handler/bulk/mod.rs"]
mod bulk;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let signature = Secret::new(text.as_ref());
    let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
    let field = |name: &str| form_urlencoded::parse(text.as_bytes()).find(|(key, _)| key == name);
    match sas::check(&signature, now) {
        Ok(()) => {
            assert!(field("sig").is_some_and(|(_, sig)| !sig.is_empty()));
            assert!(field("se").is_none() || sas::end(&signature).is_some_and(|end| end > now));
            assert!(field("sp").is_none_or(|(_, sp)| sp.contains('c') && sp.contains('w')));
            let names: Vec<_> = form_urlencoded::parse(text.as_bytes()).map(|(name, _)| name).collect();
            let count = |name: &str| names.iter().filter(|other| other.eq_ignore_ascii_case(name)).count();
            assert!(names.iter().all(|name| count(name) == 1) && count("comp") + count("restype") == 0, "{names:?}");
        }
        // Of a fixed text nothing can be the caller's.
        Err(why) => assert!(why.starts_with("The ") && why.ends_with('.'), "{why}"),
    }
    assert!(sas::end(&signature).is_none() || field("se").is_some());
    check_ours(&text, now);
});

/// The names of containers and blobs are ours, but a signature must not break whatever stands in them.
fn check_ours(text: &str, now: Timestamp) {
    let key = Secret::new("a2V5");
    let endpoint = Url::parse("https://example.blob.core.windows.net/").unwrap();
    let until = now.plus(Duration::from_secs(60));
    let ours = sas::service("example", &key, &endpoint, Opens::Container(text), until);
    assert_eq!(sas::check(&ours, now), Ok(()));
    assert_eq!(sas::end(&ours), Some(until));
    assert!(!format!("{ours:?}").contains("sig="));
    let link = sas::service("example", &key, &endpoint, Opens::Blob { container: "c", name: text }, until);
    let fields: Vec<_> = form_urlencoded::parse(link.reveal().as_bytes()).map(|(name, _)| name.into_owned()).collect();
    assert_eq!(fields, ["sv", "se", "sr", "sp", "spr", "sig"]);
}
