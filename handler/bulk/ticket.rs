//! What a page in a browser proves: a link that opens the page of one export for a while, and the token of its form.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::caller::Caller;
use super::job_id::JobId;
use super::timestamp::Timestamp;

/// The key of one export's pages: 128 random bits in its document, which go with it.
///
/// It opens nothing but what stands in that document anyway, so that whoever can read the key gains nothing by it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageKey(String);

/// A link goes into histories and access logs: it is of no use for long.
pub const LINK: Duration = Duration::from_secs(10 * 60);
/// A form is sent from a page that may have been open for a while.
const FORM: Duration = Duration::from_secs(60 * 60);

impl PageKey {
    /// `bits` must come from a cryptographic random source.
    pub fn new(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// Opens the page of the export, and no more, until [`LINK`] is over.
    pub fn link(&self, job: &JobId, now: Timestamp) -> String {
        self.signed(&link(job), now.plus(LINK))
    }

    pub fn opens(&self, job: &JobId, ticket: &str, now: Timestamp) -> bool {
        self.has_signed(&link(job), ticket, now)
    }

    /// Proves that a form was on a page that this caller was shown.
    pub fn form(&self, job: &JobId, caller: &Caller, now: Timestamp) -> String {
        self.signed(&form(job, caller), now.plus(FORM))
    }

    pub fn is_form(&self, job: &JobId, caller: &Caller, token: &str, now: Timestamp) -> bool {
        self.has_signed(&form(job, caller), token, now)
    }

    /// `{seconds}.{signature}`.
    fn signed(&self, what: &str, until: Timestamp) -> String {
        let seconds = until.milliseconds() / 1000;
        let signature = self.mac(what, seconds).map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        format!("{seconds}.{}", signature.unwrap_or_default())
    }

    fn has_signed(&self, what: &str, text: &str, now: Timestamp) -> bool {
        let Some((seconds, signature)) = text.split_once('.') else { return false };
        let (Ok(seconds), Ok(signature)) = (seconds.parse::<i128>(), URL_SAFE_NO_PAD.decode(signature)) else {
            return false;
        };
        // In constant time: how much of a guess is right must not show.
        let genuine = self.mac(what, seconds).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
        genuine && now.milliseconds() / 1000 < seconds
    }

    fn mac(&self, what: &str, seconds: i128) -> Option<Hmac<Sha256>> {
        // A key of any length will do.
        let mac = <Hmac<Sha256> as Mac>::new_from_slice(self.0.as_bytes()).ok()?;
        Some(mac.chain_update(format!("{what}\n{seconds}")))
    }
}

fn link(job: &JobId) -> String {
    format!("page\n{job}")
}

fn form(job: &JobId, caller: &Caller) -> String {
    format!("form\n{job}\n{}", caller.name())
}

impl fmt::Debug for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::Reads;
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap()
    }

    #[test]
    fn a_link_opens_one_page_for_a_while() {
        let (key, job) = (PageKey::new(7), JobId::new(1));
        let ticket = key.link(&job, now());
        assert!(key.opens(&job, &ticket, now()) && key.opens(&job, &ticket, now().plus(Duration::from_secs(599))));
        assert!(!key.opens(&job, &ticket, now().plus(LINK)), "its time is over");
        assert!(!key.opens(&JobId::new(2), &ticket, now()) && !PageKey::new(8).opens(&job, &ticket, now()));
        let (_, signature) = ticket.split_once('.').unwrap();
        let longer = format!("99999999999.{signature}");
        let cut = &ticket[..ticket.len() - 1];
        for forged in
            [longer.as_str(), cut, "", ".", "99999999999.", signature, &format!("{ticket}A"), &format!("+{ticket}A")]
        {
            assert!(!key.opens(&job, forged, now()), "{forged}");
        }
    }

    #[test]
    fn a_form_is_of_one_caller_and_no_link_is_a_form() {
        let (key, job) = (PageKey::new(7), JobId::new(1));
        let [alice, bob] = ["alice@x", "bob@x"].map(|name| Caller::client(name.into(), Reads::Everything));
        let token = key.form(&job, &alice, now());
        assert!(key.is_form(&job, &alice, &token, now()));
        assert!(!key.is_form(&job, &bob, &token, now()) && !key.is_form(&JobId::new(2), &alice, &token, now()));
        assert!(!key.is_form(&job, &alice, &token, now().plus(FORM)));
        assert!(!key.opens(&job, &token, now()) && !key.is_form(&job, &alice, &key.link(&job, now()), now()));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", PageKey::new(7)), "[key]");
    }
}
