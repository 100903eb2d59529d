//! The kick-off request: what it asks for, or the precise reason why it cannot be had.

use url::Url;

use super::asked::{Asked, Version};
use super::coding::Coding;
use super::connection::StorageAccount;
use super::destination::{self, ContainerName};
use super::level::Level;
use super::policy::CallerPolicy;
use super::rejection::Rejection;
use super::release::Release;
use super::timestamp::Timestamp;

mod accept;
mod leniency;
pub mod parameters;
pub mod prefer;
mod restrictions;
mod values;

use leniency::Leniency;
use parameters::Parameters;
use prefer::Preferences;
use restrictions::Restrictions;

/// A kick-off as it came in. A header that did not come is empty; one that came more than once is joined by commas.
///
/// It may hold a credential, so it cannot be printed.
#[derive(Clone, Default)]
pub struct KickOff {
    pub level: Level,
    pub method: Method,
    /// The raw query, without the question mark.
    pub query: String,
    pub accept: String,
    pub prefer: String,
    pub content_type: String,
    pub content_encoding: String,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Get,
    Post,
    Other,
}

/// An export that can be done.
#[derive(Clone, Debug)]
pub struct Request {
    pub asked: Asked,
    /// The account and container that the caller named; `None` is the default destination.
    pub destination: Option<CallerDestination>,
    /// What of the client's preferences is done.
    pub preferences: Preferences,
}

/// A destination named with the request.
#[derive(Clone, Debug)]
pub struct CallerDestination {
    pub account: StorageAccount,
    /// `_container`; without it the container is named for the job.
    pub container: Option<ContainerName>,
}

/// What of the configuration decides about a kick-off.
#[derive(Clone, Debug)]
pub struct Terms {
    /// `…` of `…/$export`, without a slash at its end.
    pub public_url: Url,
    /// The FHIR release of the store.
    pub release: Release,
    pub callers: CallerPolicy,
    /// Whether there is a default destination.
    pub default_destination: bool,
    /// The Bulk Data version of a client that does not ask for one.
    pub version: Version,
    /// The least `_maximumFileSize` in bytes: files without number would cost more than they are worth.
    pub least_file: u64,
    /// How the files of an export are stored that does not say so.
    pub coding: Coding,
    /// Whether a kick-off must ask for an asynchronous answer (HD-02).
    pub prefer_required: bool,
}

impl Terms {
    /// What public URLs begin with: a slash follows.
    pub fn base(&self) -> &str {
        self.public_url.as_str().trim_end_matches('/')
    }
}

/// The only destination type, spelled as the seed spells it; case counts.
const BLOCK_BLOB: &str = "azure-block-blob";

/// Reads a kick-off.
pub fn parse(kick_off: &KickOff, terms: &Terms, now: Timestamp) -> Result<Request, Rejection> {
    let preferences = Preferences::read(&kick_off.prefer);
    let version = preferences.version.unwrap_or(terms.version);
    check_method(kick_off, version)?;
    check_preference(preferences, terms)?;
    check_content(kick_off)?;
    let mut leniency = Leniency::new(preferences.lenient());
    let given = Parameters::read(&kick_off.query, &kick_off.body, &mut leniency)?;
    check_answer(kick_off, &given)?;
    let destination = caller_destination(&given, terms)?;
    let (level, method) = (&kick_off.level, kick_off.method);
    let asked = Restrictions { given: &given, level, method, version, terms, now }.read(&mut leniency)?;
    let asked = Asked {
        request: public_url(&terms.public_url, level, &kick_off.query),
        level: level.clone(),
        version,
        separate_status: preferences.separate_status,
        notes: leniency.notes,
        ..asked
    };
    Ok(Request { asked, destination, preferences })
}

/// Version 4 knows no kick-off by GET (KO-04). The body of a GET means nothing in HTTP, but to its sender it does.
fn check_method(kick_off: &KickOff, version: Version) -> Result<(), Rejection> {
    match (kick_off.method, version) {
        (Method::Get, Version::V3) if kick_off.body.is_empty() => Ok(()),
        (Method::Get, Version::V3) => {
            Err(Rejection::malformed("The parameters of a GET stand in its URL; send a body with POST."))
        }
        (Method::Post, _) => Ok(()),
        (Method::Other, Version::V3) => {
            Err(Rejection::method_not_allowed("Start an export with GET or POST.", "GET, POST"))
        }
        (Method::Get | Method::Other, Version::V4) => {
            let told = "In version 4 of Bulk Data an export is started with POST.";
            Err(Rejection::method_not_allowed(told, "POST"))
        }
    }
}

/// HD-02: a client that does not ask for an asynchronous answer gets one all the same, unless the settings are strict.
fn check_preference(preferences: Preferences, terms: &Terms) -> Result<(), Rejection> {
    match preferences.respond_asynchronously || !terms.prefer_required {
        true => Ok(()),
        false => Err(Rejection::header_required("An export is answered asynchronously: send Prefer: respond-async.")),
    }
}

/// KO-08: FHIR's JSON in UTF-8, as it is.
fn check_content(kick_off: &KickOff) -> Result<(), Rejection> {
    if kick_off.body.is_empty() {
        return Ok(());
    }
    let mut parts = kick_off.content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !["application/fhir+json", "application/json"].iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        return Err(Rejection::unsupported_media(
            "Send a Parameters resource with Content-Type: application/fhir+json.",
        ));
    }
    let charset = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    if charset.is_some_and(|(_, charset)| !charset.trim_matches('"').eq_ignore_ascii_case("utf-8")) {
        return Err(Rejection::unsupported_media("The body must be JSON in UTF-8."));
    }
    match kick_off.content_encoding.trim() {
        "" => Ok(()),
        identity if identity.eq_ignore_ascii_case("identity") => Ok(()),
        _ => Err(Rejection::unsupported_media("The body must come without a content encoding.")),
    }
}

/// `_format` stands above `Accept`, as in all of FHIR (PR-08); both can only ask for JSON.
fn check_answer(kick_off: &KickOff, given: &Parameters) -> Result<(), Rejection> {
    // An unescaped plus sign arrives as a space.
    let known = ["json", "application/json", "application/fhir+json", "application/fhir json"];
    match given.one(parameters::FORMAT)? {
        None => accept::check(&kick_off.accept),
        Some(format) if known.iter().any(|name| format.eq_ignore_ascii_case(name)) => Ok(()),
        Some(_) => Err(Rejection::not_acceptable("The only format of an answer is JSON.").about(parameters::FORMAT)),
    }
}

fn caller_destination(given: &Parameters, terms: &Terms) -> Result<Option<CallerDestination>, Rejection> {
    let container = given.one(parameters::CONTAINER)?;
    match (given.one(destination::TYPE)?, given.one(destination::SETTINGS)?) {
        (None, None) if container.is_some() => {
            Err(Rejection::not_supported("A container can be named only together with a destination.")
                .about(parameters::CONTAINER))
        }
        (None, None) if terms.default_destination => Ok(None),
        (None, None) => Err(Rejection::required(
            destination::TYPE,
            format!(
                "This server has no default destination: name one with {}={BLOCK_BLOB} and {}.",
                destination::TYPE,
                destination::SETTINGS
            ),
        )),
        (None, Some(_)) => Err(Rejection::required(
            destination::TYPE,
            format!("{} needs {}={BLOCK_BLOB} beside it.", destination::SETTINGS, destination::TYPE),
        )),
        (Some(kind), _) if kind != BLOCK_BLOB => {
            Err(Rejection::bad_value(destination::TYPE, format!("The only destination type is {BLOCK_BLOB}.")))
        }
        (Some(_), None) => Err(Rejection::required(
            destination::SETTINGS,
            format!("{} needs {}, a base64-encoded connection string.", destination::TYPE, destination::SETTINGS),
        )),
        (Some(_), Some(settings)) => {
            let account = terms.callers.account(settings)?;
            let container = container.map(ContainerName::parse).transpose();
            let container = container.map_err(|problem| Rejection::bad_value(parameters::CONTAINER, problem))?;
            Ok(Some(CallerDestination { account, container }))
        }
    }
}

/// The kick-off's URL under the public base; of a POST without what stands in its body (AMB-26).
fn public_url(base: &Url, level: &Level, query: &str) -> String {
    let query = parameters::shown(query);
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{}/{}{separator}{query}", base.as_str().trim_end_matches('/'), level.path())
}

#[cfg(test)]
mod tests;
