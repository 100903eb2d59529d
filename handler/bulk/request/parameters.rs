//! The parameters of a kick-off, from its URL and its body, as one list (requirements KO-09 to KO-11, PR-01, PR-10).

use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded;

use crate::bulk::destination;
use crate::bulk::members::Members;
use crate::bulk::note::Severity;
use crate::bulk::rejection::{Rejection, repeated};

use super::leniency::Leniency;

/// A parameter that this server understands, if only to say that it cannot do it.
#[derive(Debug)]
pub struct Known {
    pub name: &'static str,
    /// What its `value[x]` may be in a body.
    values: &'static [&'static str],
}

const TEXT: &[&str] = &["valueString", "valueCode"];
const INSTANT: &[&str] = &["valueInstant", "valueDateTime", "valueString"];
const COUNT: &[&str] = &["valuePositiveInt", "valueUnsignedInt", "valueInteger", "valueInteger64"];

const fn known(name: &'static str, values: &'static [&'static str]) -> Known {
    Known { name, values }
}

pub const OUTPUT_FORMAT: &str = "_outputFormat";
pub const SINCE: &str = "_since";
pub const UNTIL: &str = "_until";
pub const TILL: &str = "_till";
pub const TYPE: &str = "_type";
pub const ELEMENTS: &str = "_elements";
pub const TYPE_FILTER: &str = "_typeFilter";
pub const ASSOCIATED: &str = "includeAssociatedData";
pub const PARTIAL: &str = "allowPartialManifests";
pub const SMALLEST: &str = "_minimumFileSize";
pub const LARGEST: &str = "_maximumFileSize";
pub const ORGANIZE: &str = "organizeOutputBy";
pub const PATIENT: &str = "patient";
pub const CONTAINER: &str = "_container";
pub const COMPRESSION: &str = "_compression";
pub const MAX_COUNT: &str = "_maxCount";
pub const FORMAT: &str = "_format";
const PRETTY: &str = "_pretty";
/// The function key of the host, which stands in URLs.
const CODE: &str = "code";

/// Every parameter that is understood.
pub const KNOWN: &[Known] = &[
    known(OUTPUT_FORMAT, TEXT),
    known(SINCE, INSTANT),
    known(UNTIL, INSTANT),
    known(TILL, INSTANT),
    known(TYPE, TEXT),
    known(ELEMENTS, TEXT),
    known(TYPE_FILTER, TEXT),
    known(ASSOCIATED, &["valueCoding", "valueCode", "valueString"]),
    known(PARTIAL, &["valueBoolean"]),
    known(SMALLEST, COUNT),
    known(LARGEST, COUNT),
    known(ORGANIZE, TEXT),
    known(PATIENT, &["valueReference"]),
    known(destination::TYPE, TEXT),
    known(destination::SETTINGS, TEXT),
    known(CONTAINER, TEXT),
    known(COMPRESSION, TEXT),
    known(MAX_COUNT, COUNT),
    known(FORMAT, TEXT),
    known(PRETTY, &["valueBoolean", "valueString"]),
    known(CODE, TEXT),
];

/// Parameters that never leave the request: they carry a credential (`code` is the host's function key), or may tell who a
/// patient is.
const SECRET: [&str; 5] = [destination::SETTINGS, destination::TYPE, CODE, PATIENT, TYPE_FILTER];

/// The code system of `includeAssociatedData`.
const ASSOCIATED_SYSTEM: &str = "http://hl7.org/fhir/uv/bulkdata/CodeSystem/include-associated-data";

/// The parameters of one request, those that are not known left out. They may hold a credential.
pub struct Parameters(Vec<Given>);

struct Given {
    name: &'static str,
    /// The value as text, or what is wrong with the entry of the body.
    value: Result<String, String>,
}

impl Parameters {
    /// Reads the URL's query and the body, in this order. An empty body has no parameters (KO-07).
    pub fn read(query: &str, body: &[u8], leniency: &mut Leniency) -> Result<Self, Rejection> {
        let mut given = Vec::new();
        for (name, value) in pairs(query)? {
            if let Some(known) = find(&name, leniency)? {
                given.push(Given { name: known.name, value: Ok(value) });
            }
        }
        for entry in entries(body)? {
            if let Some(known) = find(&name(&entry)?, leniency)? {
                given.push(Given { name: known.name, value: value(known, &entry) });
            }
        }
        Ok(Self(given))
    }

    /// The value of a parameter that may come once at most, in the URL or in the body (KO-10).
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Rejection> {
        let mut given = self.all(name);
        let first = given.next().transpose()?;
        if given.next().is_some() {
            return Err(Rejection::bad_value(name, format!("The parameter \"{name}\" is given more than once.")));
        }
        Ok(first)
    }

    /// Every value of a parameter, or why it is none.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = Result<&str, Rejection>> {
        let of_name = self.0.iter().filter(move |given| given.name == name);
        of_name.map(move |given| match &given.value {
            Ok(value) => Ok(value.as_str()),
            Err(why) => Err(Rejection::bad_value(name, format!("The parameter \"{name}\" {why}."))),
        })
    }
}

/// The query of a request as it may be shown: parameters that are known and not secret. What is not known may
/// well be the misspelt name of a credential.
pub fn shown(query: &str) -> String {
    let known = |name: &str| KNOWN.iter().any(|known| known.name == name) && !SECRET.contains(&name);
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| known(name));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
}

/// A known parameter; `None` for one that is not known and may be passed over.
fn find(name: &str, leniency: &mut Leniency) -> Result<Option<&'static Known>, Rejection> {
    if let Some(known) = KNOWN.iter().find(|known| known.name == name) {
        return Ok(Some(known));
    }
    let shown = repeated(name);
    if let Some(known) = KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name)) {
        // To pass over a restriction for its spelling would widen the export.
        let told = format!("The parameter \"{shown}\" is spelled \"{}\".", known.name);
        return Err(Rejection::not_supported(told).about(known.name));
    }
    let refusal = Rejection::not_supported(format!("The parameter \"{shown}\" is not supported."));
    leniency.pass_over(Severity::Warning, refusal)?;
    Ok(None)
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Rejection> {
    let pairs: Vec<_> =
        form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let lost = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    if pairs.iter().any(|(name, value)| lost(name) || lost(value)) {
        return Err(Rejection::malformed("The query of the URL is not UTF-8."));
    }
    Ok(pairs)
}

/// What else may stand in a Parameters resource, without any meaning here.
const ASIDE: [&str; 5] = ["id", "meta", "language", "_id", "_language"];

/// The entries of a Parameters resource. What is not understood of it is never passed over: it may be a restriction
/// with its name misspelt.
fn entries(body: &[u8]) -> Result<Vec<Members<'_>>, Rejection> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let no_object = |_| Rejection::malformed("The body is not a JSON object; send a Parameters resource.");
    let Members(members) = serde_json::from_slice(body).map_err(no_object)?;
    let (mut is_parameters, mut entries) = (false, None);
    for (name, value) in members {
        match name.as_str() {
            "resourceType" if value.get() == "\"Parameters\"" => is_parameters = true,
            "resourceType" => return Err(Rejection::malformed("The body is not a Parameters resource.")),
            "parameter" if entries.is_none() => entries = Some(list(value)?),
            "parameter" => return Err(Rejection::malformed("The Parameters resource has two lists \"parameter\".")),
            aside if ASIDE.contains(&aside) => {}
            _ => {
                return Err(Rejection::malformed(
                    "The Parameters resource has an element beside \"parameter\" that is not known.",
                ));
            }
        }
    }
    match is_parameters {
        true => Ok(entries.unwrap_or_default()),
        false => Err(Rejection::malformed("The body is not a Parameters resource: it has no resourceType.")),
    }
}

fn list(value: &RawValue) -> Result<Vec<Members<'_>>, Rejection> {
    let no_list = |_| Rejection::malformed("\"parameter\" of the Parameters resource is not a list of objects.");
    serde_json::from_str(value.get()).map_err(no_list)
}

/// The name of an entry. Without one nobody knows what the client meant.
fn name(entry: &Members<'_>) -> Result<String, Rejection> {
    let mut names = entry.0.iter().filter(|(member, _)| member == "name");
    match (names.next().map(|(_, name)| serde_json::from_str(name.get())), names.next()) {
        (Some(Ok(name)), None) => Ok(name),
        _ => Err(Rejection::malformed("An entry of \"parameter\" does not have one name.")),
    }
}

/// The value of an entry as text, or what is wrong with it (KO-11).
fn value(known: &Known, entry: &Members<'_>) -> Result<String, String> {
    let mut value = None;
    for (member, found) in &entry.0 {
        match member.as_str() {
            "name" | "id" | "extension" | "_name" => {}
            "part" | "resource" => return Err(format!("has a {member}, where only a value is understood")),
            member if member.starts_with("value") && value.is_none() => value = Some((member, *found)),
            member if member.starts_with("value") => return Err("has more than one value".into()),
            _ => return Err("has an element that is not known beside its value".into()),
        }
    }
    let (member, found) = value.ok_or("has no value")?;
    if !known.values.contains(&member) {
        return Err(format!("does not have a value of its type, {}", known.values[0]));
    }
    let found = serde_json::from_str(found.get()).map_err(|_| format!("has a {member} that is too deep"))?;
    text(member, &found).ok_or_else(|| format!("has a {member} that is none"))
}

fn text(member: &str, value: &Value) -> Option<String> {
    match (member, value) {
        ("valueBoolean", Value::Bool(value)) => Some(value.to_string()),
        ("valueInteger64", Value::String(text)) => Some(text.clone()),
        ("valuePositiveInt" | "valueUnsignedInt" | "valueInteger" | "valueInteger64", Value::Number(number)) => {
            Some(number.to_string())
        }
        ("valueReference", Value::Object(reference)) => reference.get("reference")?.as_str().map(str::to_owned),
        ("valueCoding", Value::Object(coding)) => {
            let of_system = coding.get("system").is_none_or(|system| system == ASSOCIATED_SYSTEM);
            coding.get("code")?.as_str().filter(|_| of_system).map(str::to_owned)
        }
        ("valueString" | "valueCode" | "valueInstant" | "valueDateTime", Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}
