//! The kick-off request: what it asks for, or the precise reason why it cannot be had.

use url::Url;
use url::form_urlencoded::{self, Serializer};

use super::asked::Asked;
use super::connection::StorageAccount;
use super::destination::{self, ContainerName};
use super::policy::CallerPolicy;
use super::rejection::Rejection;
use super::resource_type::ResourceType;

/// A kick-off as it came in.
#[derive(Clone, Debug, Default)]
pub struct KickOff {
    /// The raw query, without the question mark.
    pub query: String,
    /// The `Accept` header, if there was one.
    pub accept: Option<String>,
}

/// An export that can be done.
#[derive(Clone, Debug)]
pub struct Request {
    pub asked: Asked,
    /// The account and container that the caller named; `None` is the default destination.
    pub destination: Option<CallerDestination>,
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
    pub callers: CallerPolicy,
    /// Whether there is a default destination.
    pub default_destination: bool,
}

/// The only destination type, spelled as the seed spells it; case counts.
const BLOCK_BLOB: &str = "azure-block-blob";

/// Parameters that carry a credential: never repeated in a manifest. `code` is the function key.
const SECRET: [&str; 3] = [destination::SETTINGS, destination::TYPE, "code"];

/// Reads a system-level kick-off.
pub fn parse(kick_off: &KickOff, terms: &Terms) -> Result<Request, Rejection> {
    check_accept(kick_off.accept.as_deref())?;
    let given = Parameters::read(&kick_off.query)?;
    if let Some(format) = &given.output_format {
        check_output_format(format)?;
    }
    let asked = Asked {
        request: public_url(&terms.public_url, &kick_off.query),
        types: given.types.as_deref().map(types).transpose()?,
        ..Asked::default()
    };
    Ok(Request { asked, destination: caller_destination(&given, terms)? })
}

/// The parameters with their values, each checked to be known and not repeated where it must not be.
#[derive(Default)]
struct Parameters {
    output_format: Option<String>,
    /// Repeats are joined by commas: they mean the same (PR-01).
    types: Option<String>,
    destination_type: Option<String>,
    destination_settings: Option<String>,
    container: Option<String>,
}

impl Parameters {
    fn read(query: &str) -> Result<Self, Rejection> {
        let mut given = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "_outputFormat" => once("_outputFormat", &mut given.output_format, value)?,
                destination::TYPE => once(destination::TYPE, &mut given.destination_type, value)?,
                destination::SETTINGS => once(destination::SETTINGS, &mut given.destination_settings, value)?,
                "_container" => once("_container", &mut given.container, value)?,
                "_type" => match &mut given.types {
                    Some(types) => *types = format!("{types},{value}"),
                    None => given.types = Some(value),
                },
                // The host's function key and the two presentation parameters of FHIR REST (PR-08) change nothing.
                "code" | "_pretty" | "_format" => {}
                _ => return Err(unknown(&name)),
            }
        }
        Ok(given)
    }
}

fn once(name: &'static str, slot: &mut Option<String>, value: String) -> Result<(), Rejection> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Rejection::bad_value(name, format!("The parameter \"{name}\" is given more than once."))),
    }
}

fn unknown(name: &str) -> Rejection {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Rejection::not_supported(format!(
        "The parameter \"{shown}\" is not supported. Supported are: _outputFormat, _type, {}, {}, _container.",
        destination::TYPE,
        destination::SETTINGS
    ))
}

/// An `Accept` that rules out JSON cannot be met (HD-01); a missing one is taken as `application/fhir+json`.
fn check_accept(accept: Option<&str>) -> Result<(), Rejection> {
    let ranges = accept.unwrap_or("*/*").split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    let json = ["application/fhir+json", "application/json", "application/*", "*/*", ""];
    if ranges.into_iter().any(|range| json.iter().any(|known| range.eq_ignore_ascii_case(known))) {
        Ok(())
    } else {
        Err(Rejection::not_acceptable("The Accept header rules out JSON; send application/fhir+json or nothing."))
    }
}

/// The three spellings of NDJSON (PR-11); an unescaped plus sign arrives as a space.
fn check_output_format(format: &str) -> Result<(), Rejection> {
    let known = ["application/fhir+ndjson", "application/fhir ndjson", "application/ndjson", "ndjson"];
    if known.iter().any(|name| format.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(Rejection::bad_value("_outputFormat", "The only output format is NDJSON: application/fhir+ndjson."))
}

fn types(list: &str) -> Result<Vec<ResourceType>, Rejection> {
    let mut types = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let wrong =
            || Rejection::bad_value("_type", format!("\"{shown}\" is not a FHIR resource type that is stored."));
        let name = ResourceType::parse(name).map_err(|_| wrong())?;
        if !name.known() {
            return Err(wrong());
        }
        if !types.contains(&name) {
            types.push(name);
        }
    }
    if types.is_empty() {
        Err(Rejection::bad_value("_type", "The parameter \"_type\" names no type."))
    } else {
        Ok(types)
    }
}

fn caller_destination(given: &Parameters, terms: &Terms) -> Result<Option<CallerDestination>, Rejection> {
    match (&given.destination_type, &given.destination_settings) {
        (None, None) if given.container.is_some() => {
            Err(Rejection::not_supported("A container can be named only together with a destination.")
                .about("_container"))
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
            let container = given.container.as_deref().map(ContainerName::parse).transpose();
            let container = container.map_err(|problem| Rejection::bad_value("_container", problem))?;
            Ok(Some(CallerDestination { account, container }))
        }
    }
}

/// The kick-off's URL under the public base, without the parameters that carry a credential.
fn public_url(base: &Url, query: &str) -> String {
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !SECRET.contains(&name.as_ref()));
    let query = Serializer::new(String::new()).extend_pairs(kept).finish();
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{}/$export{separator}{query}", base.as_str().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::policy::Named;

    fn terms() -> Terms {
        Terms {
            public_url: Url::parse("https://fhir.example/").unwrap(),
            callers: CallerPolicy { named: Named::Any, ..CallerPolicy::default() },
            default_destination: true,
        }
    }

    fn read(query: &str) -> Result<Request, Rejection> {
        parse(&KickOff { query: query.into(), accept: None }, &terms())
    }

    /// `BlobEndpoint=https://example.blob.core.windows.net/;SharedAccessSignature=sig=x`
    const SETTINGS: &str =
        "QmxvYkVuZHBvaW50PWh0dHBzOi8vZXhhbXBsZS5ibG9iLmNvcmUud2luZG93cy5uZXQvO1NoYXJlZEFjY2Vzc1NpZ25hdHVyZT1zaWc9eA==";

    #[test]
    fn a_plain_kick_off_asks_for_everything() {
        let request = read("").unwrap();
        assert_eq!(request.asked.types, None);
        assert!(request.destination.is_none());
        assert_eq!(request.asked.request, "https://fhir.example/$export");
    }

    #[test]
    fn types_repeat_or_stand_in_a_list() {
        let names = |query| {
            let types = read(query).unwrap().asked.types.unwrap();
            types.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("_type=Patient,Observation"), "Patient Observation");
        assert_eq!(names("_type=Patient&_type=Observation,%20Patient,"), "Patient Observation");
    }

    #[test]
    fn a_destination_of_the_request_is_as_the_seed_has_it() {
        let request =
            read(&format!("_destinationType=azure-block-blob&_destinationConnectionSettings={SETTINGS}&_type=Patient"))
                .unwrap();
        let destination = request.destination.unwrap();
        assert_eq!(destination.account.name, "example");
        assert_eq!(destination.container, None);
        assert_eq!(request.asked.request, "https://fhir.example/$export?_type=Patient");
    }

    #[test]
    fn nothing_secret_stays_in_the_url() {
        let url = read(&format!(
            "code=key&_destinationType=azure-block-blob&%5FdestinationConnectionSettings={SETTINGS}&_outputFormat=ndjson"
        ));
        assert_eq!(url.unwrap().asked.request, "https://fhir.example/$export?_outputFormat=ndjson");
    }

    #[test]
    fn what_cannot_be_served_is_refused_precisely() {
        let cases = [
            ("_foo=1", 400, "not-supported", None),
            ("_since=2026-01-01T00:00:00Z", 400, "not-supported", None),
            ("_type=Foo", 400, "value", Some("_type")),
            ("_type=patient", 400, "value", Some("_type")),
            ("_type=", 400, "value", Some("_type")),
            ("_type=OperationOutcome", 400, "value", Some("_type")),
            ("_outputFormat=csv", 400, "value", Some("_outputFormat")),
            ("_outputFormat=ndjson&_outputFormat=ndjson", 400, "value", Some("_outputFormat")),
            ("_destinationType=azure-block-blob", 400, "required", Some("_destinationConnectionSettings")),
            (
                "_destinationType=Azure-Block-Blob&_destinationConnectionSettings=x",
                400,
                "value",
                Some("_destinationType"),
            ),
            ("_destinationType=&_destinationConnectionSettings=x", 400, "value", Some("_destinationType")),
            ("_destinationConnectionSettings=x", 400, "required", Some("_destinationType")),
            (
                "_destinationType=azure-block-blob&_destinationConnectionSettings=x",
                400,
                "value",
                Some("_destinationConnectionSettings"),
            ),
            (
                "_destinationType=azure-block-blob&_destinationConnectionSettings=",
                400,
                "value",
                Some("_destinationConnectionSettings"),
            ),
            ("_container=abc", 400, "not-supported", Some("_container")),
        ];
        for (query, status, code, parameter) in cases {
            let rejection = read(query).unwrap_err();
            assert_eq!((rejection.status, rejection.code, rejection.parameter), (status, code, parameter), "{query}");
        }
        let without = Terms { default_destination: false, ..terms() };
        assert_eq!(parse(&KickOff::default(), &without).unwrap_err().code, "required");
    }

    #[test]
    fn all_spellings_of_ndjson_are_accepted() {
        for format in ["application/fhir%2Bndjson", "application/fhir+ndjson", "application/ndjson", "ndjson"] {
            assert!(read(&format!("_outputFormat={format}")).is_ok(), "{format}");
        }
    }

    #[test]
    fn only_an_accept_header_that_rules_out_json_is_refused() {
        let with = |accept: &str| parse(&KickOff { accept: Some(accept.into()), ..KickOff::default() }, &terms());
        for accept in ["application/fhir+json", "*/*", "application/json;q=0.5", "text/html, application/*", ""] {
            assert!(with(accept).is_ok(), "{accept}");
        }
        assert_eq!(with("application/xml").unwrap_err().status, 406);
    }
}
