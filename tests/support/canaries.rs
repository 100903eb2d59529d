//! Markers in secrets and in patients' data, and the judge that finds them where they must not be, however they are spelled.

use std::collections::BTreeSet;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use url::form_urlencoded::{byte_serialize, parse};

/// In the data of every system that a test fills with its own.
pub const PATIENT: &str = "Canary-c41d-Patient";
/// 32 bytes each.
pub const SEALING_KEY: &str = "Canary-c41d-sealing-key-32-bytes";
pub const FORMER_SEALING_KEY: &str = "Canary-c41d-former-key--32-bytes";
/// Of the emulators, which have no others.
const STORAGE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const COSMOS_KEY: &str = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==";

/// What every system has, and shows nowhere but for patients in the files of exports.
pub static EVERYWHERE: LazyLock<Canaries> = LazyLock::new(|| {
    Canaries::default()
        .with("a patient", PATIENT)
        .with("the sealing key", SEALING_KEY)
        .with("the former sealing key", FORMER_SEALING_KEY)
        .with("the key of the storage account", STORAGE_KEY)
        .with("the key of Cosmos DB", COSMOS_KEY)
});

/// What must not be seen.
#[derive(Clone, Default)]
pub struct Canaries {
    /// What each is, and every spelling of it.
    spelled: Vec<(&'static str, String)>,
    finder: OnceLock<AhoCorasick>,
}

/// Too short a text would be found by chance in what is base64.
const SHORTEST: usize = 8;

impl Canaries {
    pub fn with(mut self, what: &'static str, text: &str) -> Self {
        assert!(text.len() >= SHORTEST, "{what} is no marker");
        self.spelled.extend(spellings(text).into_iter().map(|spelling| (what, spelling)));
        self.finder = OnceLock::new();
        self
    }

    /// The secrets in a token: what proves it, and what it claims.
    pub fn with_token(self, token: &str) -> Self {
        let parts: Vec<_> = token.split('.').collect();
        let [_, claims, signature] = parts[..] else { panic!("no token: {token}") };
        self.with("the claims of a token", claims).with("the signature of a token", signature)
    }

    /// The proof in a shared access signature.
    pub fn with_signature(self, signature: &str) -> Self {
        let (_, proof) = parse(signature.as_bytes()).find(|(name, _)| name == "sig").expect("a signature");
        self.with("a shared access signature", &proof)
    }

    pub fn and(mut self, others: &Self) -> Self {
        self.spelled.extend(others.spelled.iter().cloned());
        self.finder = OnceLock::new();
        self
    }

    /// What is in the text, and behind what.
    fn first_in<'t>(&self, text: &'t str) -> Option<(&'static str, &'t str)> {
        let build = || AhoCorasick::new(self.spelled.iter().map(|(_, spelling)| spelling)).unwrap();
        let found = self.finder.get_or_init(build).find(text)?;
        let before = text[..found.start()].char_indices().rev().nth(200).map_or(0, |(at, _)| at);
        Some((self.spelled[found.pattern().as_usize()].0, &text[before..found.start()]))
    }

    /// Fails if one of them is in the text, and shows where.
    #[track_caller]
    pub fn assert_none_in(&self, place: &str, text: &str) {
        if let Some((what, before)) = self.first_in(text) {
            panic!("{what} is in {place}, after {before:?}");
        }
    }

    /// Fails if one of them is not there: then nothing would be proved by its absence elsewhere.
    #[track_caller]
    pub fn assert_all_in(&self, place: &str, text: &str) {
        let names = |spelled: &mut dyn Iterator<Item = &(&'static str, String)>| {
            spelled.map(|(what, _)| *what).collect::<BTreeSet<_>>()
        };
        let there = names(&mut self.spelled.iter().filter(|(_, spelling)| text.contains(spelling)));
        assert_eq!(there, names(&mut self.spelled.iter()), "in {place}");
    }
}

/// Fails if a signature of any link is in the text. The SDK strikes them out of what it logs.
#[track_caller]
pub fn assert_no_link_in(place: &str, text: &str) {
    for name in ["sig=", "sig%3D", "sig%3d"] {
        for (at, _) in text.match_indices(name) {
            let rest = &text[at + name.len()..];
            assert!(rest.starts_with("REDACTED"), "a link is in {place}, after {:?}", &text[..at].lines().last());
        }
    }
}

/// The text, and what is made of it on the way into URLs, JSON, headers, messages and dumps, once and twice.
fn spellings(text: &str) -> BTreeSet<String> {
    let mut once = BTreeSet::from([text.to_owned()]);
    once.extend(encoded(text));
    // Of a key in base64 its bytes as well.
    if let Ok(bytes) = STANDARD.decode(text) {
        once.extend([in_base64(&bytes), in_hex(&bytes), in_numbers(&bytes)].concat());
    }
    let twice: Vec<String> = once.iter().flat_map(|text| encoded(text)).collect();
    once.extend(twice);
    once.retain(|spelling| spelling.len() >= SHORTEST);
    once
}

fn encoded(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    [in_url(text), in_json(text), in_base64(bytes), in_hex(bytes), in_numbers(bytes)].concat()
}

fn in_url(text: &str) -> Vec<String> {
    let form: String = byte_serialize(text.as_bytes()).collect();
    let lower = |text: &str| {
        let mut parts = text.split('%');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| {
            let (digits, rest) = part.split_at(2);
            format!("{all}%{}{rest}", digits.to_lowercase())
        })
    };
    let percent = form.replace('+', "%20");
    vec![lower(&form), lower(&percent), form, percent]
}

fn in_json(text: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(text).to_string();
    let escaped = quoted[1..quoted.len() - 1].to_owned();
    let as_code = |text: &str, chars: &[char]| {
        chars.iter().fold(text.to_owned(), |text, c| text.replace(*c, &format!("\\u{:04x}", u32::from(*c))))
    };
    vec![escaped.replace('/', "\\/"), as_code(&escaped, &['+', '&', '=', '/']), as_code(&escaped, &['&']), escaped]
}

/// As it is spelled at each of the three positions in a longer text.
fn in_base64(bytes: &[u8]) -> Vec<String> {
    let at = |offset: usize| {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; offset], bytes].concat());
        // Without the digits that depend on what stands before and behind.
        let first = (offset * 8).div_ceil(6);
        let last = (offset + bytes.len()) * 8 / 6;
        encoded[first..last].to_owned()
    };
    let standard = [0, 1, 2].map(at);
    let url_safe = standard.clone().map(|text| text.replace('+', "-").replace('/', "_"));
    standard.into_iter().chain(url_safe).collect()
}

fn in_hex(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![hex.to_uppercase(), hex]
}

/// As Rust prints bytes, and as JSON has them.
fn in_numbers(bytes: &[u8]) -> Vec<String> {
    [", ", ","].map(|between| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(between)).into()
}

#[test]
fn a_marker_is_found_in_every_spelling_and_nothing_else_is_one() {
    let secret = "k+/=äKEY&sig%25-canary";
    let canaries = Canaries::default().with("the secret", secret);
    let json = |text: &str| serde_json::json!({ "field": text }).to_string();
    let url = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    for around in ["", "x", "xy", "xyz"] {
        let text = format!("{around}{secret};more");
        for spelled in [
            text.clone(),
            json(&text),
            json(&json(&text)),
            url(&text),
            url(&url(&text)),
            url(&text).to_lowercase().replace("key", "KEY"),
            STANDARD.encode(&text),
            STANDARD.encode(json(&text)),
            url(&STANDARD.encode(&text)),
            json(&url(&text)),
            text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            format!("{:?}", text.as_bytes()),
        ] {
            assert_eq!(canaries.first_in(&spelled).map(|(what, _)| what), Some("the secret"), "{spelled}");
        }
    }
    assert_eq!(canaries.first_in("k+/=äKEY&sig%25-canarx"), None);
    assert_eq!(canaries.first_in(""), None);
}

#[test]
fn a_key_is_found_by_its_bytes_and_a_signature_by_its_proof() {
    let bytes = *b"0123456789abcdef?>?>?>";
    let canaries = Canaries::default().with("the key", &STANDARD.encode(bytes));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    for spelled in [hex, format!("{bytes:?}"), base64::engine::general_purpose::URL_SAFE.encode(bytes)] {
        assert_eq!(canaries.first_in(&spelled).map(|(what, _)| what), Some("the key"), "{spelled}");
    }
    let canaries = Canaries::default().with_signature("sv=1&sig=a%2Bb%2Fcdefgh%3D&se=2");
    for spelled in ["?sig=a%2Bb%2Fcdefgh%3D", r#"{"sig":"a+b/cdefgh="}"#, "SharedAccessSignature a%2bb%2fcdefgh%3d"] {
        assert!(canaries.first_in(spelled).is_some(), "{spelled}");
    }
}

#[test]
#[should_panic(expected = "the secret is in the log, after \"here: \"")]
fn the_judge_tells_what_is_where() {
    Canaries::default().with("the secret", "0123456789").assert_none_in("the log", "here: 0123456789");
}

#[test]
#[should_panic(expected = "a link is in the log")]
fn a_link_is_found_whatever_it_opens() {
    assert_no_link_in("the log", "sig=REDACTED and\nhttps://a.example/b?sv=1&sig=x");
}
