//! Shared access signatures: reading a caller's, making our own from an account key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use url::Url;
use url::form_urlencoded::{Serializer, parse};

use super::secret::Secret;
use super::timestamp::Timestamp;

/// The signature version whose string-to-sign [`service`] makes; every service version since 2021 accepts it.
const VERSION: &str = "2021-06-08";

/// What a service signature opens.
#[derive(Clone, Copy, Debug)]
pub enum Opens<'a> {
    /// Reading one blob of a container.
    Blob { container: &'a str, name: &'a str },
    /// Writing and deleting blobs in a container: not creating it, not listing it, not reading in it.
    Container(&'a str),
}

/// Makes a service signature with the key of an account, valid until `until`. Plain http only for an emulator.
pub fn service(account: &str, key: &Secret, blob_endpoint: &Url, opens: Opens<'_>, until: Timestamp) -> Secret {
    let (resource, permissions, path) = match opens {
        Opens::Blob { container, name } => ("b", "r", format!("/blob/{account}/{container}/{name}")),
        Opens::Container(container) => ("c", "cwd", format!("/blob/{account}/{container}")),
    };
    let protocol = if blob_endpoint.scheme() == "http" { "https,http" } else { "https" };
    let expiry = until.whole_seconds();
    // permissions, start, expiry, resource, policy, address, protocol, version, kind, snapshot, scope, five headers
    let to_sign = format!("{permissions}\n\n{expiry}\n{path}\n\n\n{protocol}\n{VERSION}\n{resource}\n\n\n\n\n\n\n");
    let query = Serializer::new(String::new())
        .append_pair("sv", VERSION)
        .append_pair("se", &expiry)
        .append_pair("sr", resource)
        .append_pair("sp", permissions)
        .append_pair("spr", protocol)
        .append_pair("sig", &sign(key, &to_sign))
        .finish();
    Secret::new(query)
}

/// HMAC-SHA256 of `text` under a base64 account key, as base64.
pub fn sign(key: &Secret, text: &str) -> String {
    // The key was checked to be base64 where it was parsed, and HMAC takes a key of any length.
    let key = STANDARD.decode(key.reveal()).unwrap_or_default();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
        return String::new();
    };
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// What says which operation a request is. The signature stands in the URL of each of ours, and must not make another of it.
const OPERATION: [&str; 10] =
    ["comp", "restype", "blockid", "blocklisttype", "snapshot", "versionid", "timeout", "prefix", "marker", "include"];

/// Checks a caller's signature as far as its own text tells, so that a mistake is seen at kick-off.
///
/// # Errors
/// One sentence that repeats nothing of the signature.
pub fn check(sas: &Secret, now: Timestamp) -> Result<(), &'static str> {
    let names: Vec<_> = parse(sas.reveal().as_bytes()).map(|(name, _)| name.to_ascii_lowercase()).collect();
    if names.iter().any(|name| names.iter().filter(|other| *other == name).count() > 1) {
        return Err("The shared access signature has a field twice.");
    }
    if names.iter().any(|name| OPERATION.contains(&name.as_str())) {
        return Err("The shared access signature has a parameter that is no part of a signature.");
    }
    let field = |name| field(sas, name);
    if field("sig").is_none_or(|sig| sig.is_empty()) {
        return Err("The shared access signature has no sig field.");
    }
    if let Some(end) = field("se").map(|text| moment(&text)) {
        let end = end.ok_or("The expiry (se) of the shared access signature is no date.")?;
        if end <= now {
            return Err("The shared access signature has expired.");
        }
    }
    if let Some(start) = field("st").map(|text| moment(&text)) {
        let start = start.ok_or("The start (st) of the shared access signature is no date.")?;
        if start > now {
            return Err("The shared access signature is not valid yet.");
        }
    }
    // Of an account, a signature opens services (ss) and kinds of things (srt); of a service, one thing (sr).
    if field("ss").is_some_and(|services| !services.contains('b')) {
        return Err("The shared access signature does not open blob storage (ss must hold b).");
    }
    if field("srt").is_some_and(|types| !types.contains('o')) {
        return Err("The shared access signature does not open blobs (srt must hold o).");
    }
    if field("sr").is_some_and(|resource| resource != "c") {
        return Err("The shared access signature does not open a container (sr must be c).");
    }
    // A stored access policy (si) may carry the permissions; then only the probe can tell.
    match field("sp") {
        Some(permissions) if !permissions.contains('w') => {
            Err("The shared access signature has no write permission (sp must hold c and w).")
        }
        Some(permissions) if !permissions.contains('c') => {
            Err("The shared access signature has no create permission (sp must hold c and w).")
        }
        _ => Ok(()),
    }
}

/// Whether a signature may not delete, as far as its own text tells: what it has written then stays.
pub fn leaves_files(sas: &Secret) -> bool {
    field(sas, "sp").is_some_and(|permissions| !permissions.contains('d'))
}

/// When a signature ends, if its own text tells.
pub fn end(sas: &Secret) -> Option<Timestamp> {
    moment(&field(sas, "se")?)
}

fn field(sas: &Secret, name: &str) -> Option<String> {
    parse(sas.reveal().as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The date forms that signatures use: with seconds, with minutes only, or a day.
fn moment(text: &str) -> Option<Timestamp> {
    let minutes = text.strip_suffix('Z').map(|text| format!("{text}:00Z"));
    let day = Some(format!("{text}T00:00:00Z"));
    [Some(text.to_owned()), minutes, day].into_iter().flatten().find_map(|text| Timestamp::parse(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T00:00:00Z").unwrap()
    }

    #[test]
    fn a_callers_signature_is_refused_with_its_reason() {
        let cases = [
            ("sp=rcw&se=2026-01-02T01:00:00Z&sig=x", Ok(())),
            ("sp=rcw&se=2026-01-02T01:00Z&sig=x", Ok(())),
            ("sp=rcw&se=2026-01-03&sig=x", Ok(())),
            ("si=policy&sig=x", Ok(())),
            ("sp=rcw&se=2026-01-02T01:00:00Z", Err("The shared access signature has no sig field.")),
            ("sp=rcw&se=2026-01-01T23:59:59Z&sig=x", Err("The shared access signature has expired.")),
            ("sp=rcw&se=soon&sig=x", Err("The expiry (se) of the shared access signature is no date.")),
            ("sp=rcw&st=2026-01-02T00:00:01Z&sig=x", Err("The shared access signature is not valid yet.")),
            ("sp=rcw&sig=x&sp=r", Err("The shared access signature has a field twice.")),
            ("sp=rcw&sig=x&SIG=y", Err("The shared access signature has a field twice.")),
            (
                "sp=rcw&sig=x&Comp=acl",
                Err("The shared access signature has a parameter that is no part of a signature."),
            ),
            ("sp=rl&sig=x", Err("The shared access signature has no write permission (sp must hold c and w).")),
            ("sp=rw&sig=x", Err("The shared access signature has no create permission (sp must hold c and w).")),
            ("ss=bq&srt=co&sp=cw&sig=x", Ok(())),
            ("sr=c&sp=cw&sig=x", Ok(())),
            (
                "ss=qf&srt=sco&sp=cw&sig=x",
                Err("The shared access signature does not open blob storage (ss must hold b)."),
            ),
            ("ss=b&srt=sc&sp=cw&sig=x", Err("The shared access signature does not open blobs (srt must hold o).")),
            ("sr=b&sp=cw&sig=x", Err("The shared access signature does not open a container (sr must be c).")),
        ];
        for (sas, expected) in cases {
            assert_eq!(check(&Secret::new(sas), now()), expected, "{sas}");
            assert_eq!(end(&Secret::new(sas)).is_some(), sas.contains("se=2026"), "{sas}");
        }
    }

    #[test]
    fn a_signature_without_the_right_to_delete_leaves_files() {
        for (sas, leaves) in [("sp=cw&sig=x", true), ("sp=rcwd&sig=x", false), ("si=policy&sig=x", false)] {
            assert_eq!(leaves_files(&Secret::new(sas)), leaves, "{sas}");
        }
    }

    #[test]
    fn a_signature_of_ours_opens_one_thing_until_its_end() {
        let key = Secret::new(STANDARD.encode("key"));
        let endpoint = Url::parse("https://example.blob.core.windows.net/").unwrap();
        let sas = service("example", &key, &endpoint, Opens::Blob { container: "c", name: "j/a.ndjson" }, now());
        assert!(sas.reveal().starts_with("sv=2021-06-08&se=2026-01-02T00%3A00%3A00Z&sr=b&sp=r&spr=https&sig="));
        let container =
            service("example", &key, &endpoint, Opens::Container("c"), now().plus(std::time::Duration::from_secs(60)));
        assert_eq!(check(&container, now()), Ok(()));
        assert_eq!(field(&container, "sp").as_deref(), Some("cwd"));
        assert!(!leaves_files(&container));
    }
}
