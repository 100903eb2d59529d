//! Searches that tests draw, and what they find by a slow and obvious reading of a resource as a tree.

use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::search::Filter;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::world::{PUBLIC_URL, mixed};

/// A value of `_typeFilter`: all of its parameters must be fulfilled.
#[derive(Clone, Debug)]
pub struct Search {
    pub of: &'static str,
    pub parameters: Vec<(String, String)>,
}

/// What a version is judged by, beside its text.
#[derive(Clone, Copy, Debug)]
pub struct When<'a> {
    pub last_modified: &'a str,
    pub transaction_time: Timestamp,
}

/// The types that are searched, and how.
pub const SEARCHED: [&str; 4] = ["Patient", "Observation", "Encounter", "RiskAssessment"];

type Paths = &'static [&'static [&'static str]];

/// Kind and elements of a parameter. A composite has those of both parts.
fn parameter(of: &str, code: &str) -> (&'static str, Paths) {
    match (of, code) {
        (_, "_id") => ("token", &[&["id"]]),
        (_, "_lastUpdated") => ("written", &[]),
        (_, "status") => ("token", &[&["status"]]),
        ("Patient", "active") => ("token", &[&["active"]]),
        ("Patient", "birthdate") => ("date", &[&["birthDate"]]),
        ("Patient", "deceased") => ("exists", &[&["deceasedBoolean"], &["deceasedDateTime"]]),
        ("Patient", "family") => ("string", &[&["name", "family"]]),
        ("Patient", "given") => ("string", &[&["name", "given"]]),
        ("Patient", "name") => ("string", &[&["name", "family"], &["name", "given"], &["name", "text"]]),
        ("Patient", "address-city") => ("string", &[&["address", "city"]]),
        ("Patient", "email") => ("email", &[&["telecom"]]),
        ("Observation", "code") => ("token", &[&["code"]]),
        ("Observation", "combo-code") => ("token", &[&["code"], &["component", "code"]]),
        ("Observation", "date") => ("date", &[&["effectiveDateTime"], &["effectivePeriod"]]),
        ("Observation", "focus") => ("reference", &[&["focus"]]),
        ("Observation", "performer") => ("reference", &[&["performer"]]),
        ("Observation", "value-quantity") => ("quantity", &[&["valueQuantity"]]),
        ("Observation", "value-string") => ("string", &[&["valueString"]]),
        ("Observation", "code-value-quantity") => ("composite", &[&[]]),
        ("Observation", "component-code-value-quantity") => ("composite", &[&["component"]]),
        ("Observation", "combo-code-value-quantity") => ("composite", &[&[], &["component"]]),
        ("Encounter", "date") => ("date", &[&["period"]]),
        ("Encounter", "length") => ("quantity", &[&["length"]]),
        ("RiskAssessment", "probability") => {
            ("number", &[&["prediction", "probabilityDecimal"], &["prediction", "probabilityRange"]])
        }
        _ => panic!("{of} {code}"),
    }
}

fn pick<T: Copy>(of: &[T], draw: u64) -> T {
    of[(mixed(draw) % of.len() as u64) as usize]
}

const NAMES: [&str; 6] = ["Núñez", "nun", "José Maria", "jose  maria", "MÜLLER", "Mu"];
const DATES: [&str; 7] =
    ["2023", "2024", "2024-02", "2024-02-29", "2024-02-29T10:00:00Z", "2024-03-01T01:00:00+02:00", "2025-06"];
const NUMBERS: [&str; 9] = ["5", "5.0", "5.04", "4.5", "5.5", "0", "-5.4", "5e1", "49.99"];
const UNITS: [&str; 4] = ["", "|http://u|mg", "||mg", "||milligram"];
const CODES: [&str; 4] = ["a", "b", "s|a", "|b"];
const PREFIXES: [&str; 10] = ["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];

impl Search {
    pub fn drawn(of: &'static str, draw: u64) -> Self {
        let parameters = (0..1 + draw % 5 / 4).map(|number| drawn_parameter(of, mixed(draw ^ number << 40))).collect();
        Self { of, parameters }
    }

    /// As a value of the parameter of a kick-off.
    pub fn text(&self) -> String {
        let query = Serializer::new(String::new()).extend_pairs(&self.parameters).finish();
        format!("{}?{}", self.of, query.replace('+', "%20"))
    }

    pub fn filter(&self) -> Filter {
        Filter { of: ResourceType::parse(self.of).unwrap(), parameters: self.parameters.clone() }
    }
}

/// Whether a filter finds a resource.
pub fn finds(filter: &Filter, resource: &Value, when: When<'_>) -> bool {
    filter.parameters.iter().all(|(name, values)| {
        let (code, modifier) = name.split_once(':').unwrap_or((name, ""));
        let (kind, paths) = parameter(filter.of.as_str(), code);
        if modifier == "missing" {
            return exists(kind, paths, resource) != (values == "true");
        }
        let any = values.split(',').any(|value| is_found(kind, paths, resource, (value, modifier), when));
        any != (modifier == "not")
    })
}

/// Whether filters let a resource pass: one of those of its type, if there are any.
pub fn let_pass(filters: &[Filter], resource: &Value, when: When<'_>) -> bool {
    let mut own = filters.iter().filter(|filter| resource["resourceType"] == filter.of.as_str()).peekable();
    own.peek().is_none() || own.any(|filter| finds(filter, resource, when))
}

fn drawn_parameter(of: &str, draw: u64) -> (String, String) {
    let codes: &[&str] = match of {
        "Patient" => {
            &["active", "birthdate", "deceased", "family", "given", "name", "address-city", "email", "_lastUpdated"]
        }
        "Observation" => &[
            "status",
            "code",
            "combo-code",
            "date",
            "focus",
            "value-quantity",
            "value-string",
            "code-value-quantity",
            "component-code-value-quantity",
            "combo-code-value-quantity",
        ],
        "Encounter" => &["status", "date", "length", "_id"],
        _ => &["probability"],
    };
    let code = pick(codes, draw);
    let (kind, _) = parameter(of, code);
    if !["written", "exists"].contains(&kind) && (draw >> 20).is_multiple_of(8) {
        return (format!("{code}:missing"), pick(&["true", "false"], draw >> 24).into());
    }
    let modifier = match kind {
        "string" => pick(&["", "", ":contains", ":exact"], draw >> 28),
        "token" | "exists" | "email" => pick(&["", "", "", ":not"], draw >> 28),
        _ => "",
    };
    let values: Vec<String> =
        (0..1 + (draw >> 32) % 2).map(|number| value(of, code, kind, mixed(draw ^ number << 50))).collect();
    (format!("{code}{modifier}"), values.join(","))
}

fn value(of: &str, code: &str, kind: &str, draw: u64) -> String {
    let number = |draw: u64| format!("{}{}", pick(&PREFIXES, draw), pick(&NUMBERS, draw >> 8));
    match (kind, code) {
        ("exists", _) | (_, "active") => pick(&["true", "false"], draw).into(),
        (_, "status") => pick(&["final", "amended", "in-progress"], draw).into(),
        (_, "_id") => pick(&["r0", "r1", "r2"], draw).into(),
        ("token", _) => pick(&CODES, draw).into(),
        ("email", _) => pick(&["a@b", "c@d", "0221"], draw).into(),
        ("string", _) => pick(&NAMES, draw).into(),
        ("date", _) => format!("{}{}", pick(&PREFIXES, draw), pick(&DATES, draw >> 8)),
        ("written", _) => {
            format!("{}{}", pick(&["lt", "ge", "ap"], draw), pick(&["2025", "2026-01-01", "2026"], draw >> 8))
        }
        ("reference", _) => pick(&["p0", "Patient/p1", "Device/r1"], draw).to_owned() + pick(&["", "x"], draw >> 8),
        ("number", _) => number(draw),
        ("quantity", _) => number(draw) + pick(&UNITS, draw >> 16),
        ("composite", _) => format!("{}${}{}", pick(&CODES, draw >> 20), number(draw), pick(&UNITS, draw >> 16)),
        _ => panic!("{of} {code}"),
    }
}

/// Members of a resource by which it may be found, each with a comma behind it.
pub fn members(of: &str, draw: u64) -> String {
    let maybe = |bit: u64| draw >> bit & 1 == 1;
    let mut all = json!({});
    let mut set = |name: &str, value: Value| all[name] = value;
    let period = |draw: u64| match draw % 3 {
        0 => json!({ "start": pick(&DATES[..4], draw) }),
        1 => json!({ "end": pick(&DATES[..4], draw) }),
        _ => json!({ "start": "2023-12-31", "end": pick(&DATES[1..4], draw) }),
    };
    match of {
        "Patient" => {
            if maybe(0) {
                set(
                    "name",
                    json!([{ "family": pick(&NAMES, draw), "given": [pick(&NAMES, draw >> 3), pick(&NAMES, draw >> 6)] }, { "text": pick(&NAMES, draw >> 9) }]),
                );
            }
            if maybe(1) {
                set("address", json!([{ "city": pick(&NAMES, draw >> 12) }]));
                set("birthDate", pick(&DATES[..4], draw >> 15).into());
            }
            if maybe(2) {
                set("active", maybe(3).into());
                set("deceasedBoolean", maybe(4).into());
                set(
                    "telecom",
                    json!([{ "system": pick(&["email", "phone"], draw >> 18), "value": pick(&["a@b", "c@d"], draw >> 21) }]),
                );
            }
        }
        "Observation" => {
            set("code", codes(draw));
            match draw % 4 {
                0 => set("valueString", pick(&NAMES, draw >> 3).into()),
                1 => {}
                _ => set("valueQuantity", quantity(draw >> 6)),
            }
            if maybe(4) {
                set("status", pick(&["final", "amended"], draw >> 9).into());
                set(
                    "focus",
                    json!([{ "reference": format!("{}Patient/{}", pick(&["", &format!("{PUBLIC_URL}/")], draw >> 12), pick(&["p0", "p1"], draw >> 15)) }]),
                );
            }
            match draw >> 5 & 3 {
                0 => set("effectiveDateTime", pick(&DATES, draw >> 18).into()),
                1 => set("effectivePeriod", period(draw >> 20)),
                _ => {}
            }
            if maybe(7) {
                let component = |draw: u64| json!({ "code": codes(draw), "valueQuantity": quantity(draw >> 4) });
                set("component", json!([component(draw >> 21), component(draw >> 24), { "code": codes(draw >> 27) }]));
            }
        }
        "Encounter" => {
            set("status", pick(&["in-progress", "finished"], draw).into());
            if maybe(3) {
                set("period", period(draw >> 6));
            }
            if maybe(4) {
                set("length", quantity(draw >> 9));
            }
        }
        "RiskAssessment" => match draw % 4 {
            0 => {}
            1 => set(
                "prediction",
                json!([{ "probabilityRange": { "low": { "value": 4.5 }, "high": { "value": number(draw >> 3) } } }]),
            ),
            _ => set(
                "prediction",
                json!([{ "probabilityDecimal": number(draw >> 3) }, { "probabilityDecimal": number(draw >> 6) }]),
            ),
        },
        _ => {}
    }
    let text = all.to_string();
    let inner = &text[1..text.len() - 1];
    if inner.is_empty() { String::new() } else { format!("{inner},") }
}

fn codes(draw: u64) -> Value {
    let coding = match draw % 4 {
        0 => json!({ "system": "s", "code": "a" }),
        1 => json!({ "code": "b" }),
        2 => json!({ "system": "t", "code": "b" }),
        _ => json!({ "display": "a" }),
    };
    json!({ "coding": [coding], "text": "a" })
}

fn number(draw: u64) -> Value {
    serde_json::from_str(pick(&["5", "5.04", "4.5", "5.5", "0.0", "-5.41", "50", "49.99", "4.95"], draw)).unwrap()
}

fn quantity(draw: u64) -> Value {
    let mut quantity = json!({ "value": number(draw) });
    match draw >> 3 & 7 {
        0 => quantity["comparator"] = pick(&["<", "<=", ">", ">="], draw >> 6).into(),
        1 | 2 => quantity["unit"] = "milligram".into(),
        3 | 4 => (quantity["system"], quantity["code"]) = ("http://u".into(), "mg".into()),
        5 => (quantity["system"], quantity["code"]) = ("http://other".into(), "mg".into()),
        _ => {}
    }
    quantity
}

fn at(resource: &Value, path: &[&str]) -> Vec<Value> {
    path.iter().fold(vec![resource.clone()], |values, name| {
        let next = values.iter().map(|value| value[*name].clone());
        next.flat_map(|value| if let Value::Array(items) = value { items } else { vec![value] })
            .filter(|value| !value.is_null())
            .collect()
    })
}

fn all_at(resource: &Value, paths: &[&[&str]]) -> Vec<Value> {
    paths.iter().flat_map(|path| at(resource, path)).collect()
}

fn exists(kind: &str, paths: &[&[&str]], resource: &Value) -> bool {
    match kind {
        "composite" => all_at(resource, paths)
            .iter()
            .any(|part| !at(part, &["code"]).is_empty() && !at(part, &["valueQuantity"]).is_empty()),
        "email" => all_at(resource, paths).iter().any(|contact| contact["system"] == "email"),
        _ => !all_at(resource, paths).is_empty(),
    }
}

fn is_found(kind: &str, paths: &[&[&str]], resource: &Value, (value, modifier): (&str, &str), when: When<'_>) -> bool {
    let mut found = all_at(resource, paths).into_iter();
    match kind {
        "written" => date_lies(value, span(when.last_modified), when),
        "exists" => found.any(|element| element != false).to_string() == value,
        "token" => found.any(|element| token(&element, value)),
        "email" => found.any(|element| element["system"] == "email" && element["value"] == value),
        "string" => found.any(|element| string(element.as_str().unwrap(), value, modifier)),
        "reference" => found.any(|element| {
            let reference =
                element["reference"].as_str().unwrap().trim_start_matches(&format!("{PUBLIC_URL}/")).to_owned();
            reference == value || reference.ends_with(&format!("/{value}"))
        }),
        "date" => found.any(|element| date_lies(value, of_date(&element), when)),
        "number" => found.any(|element| extent(&element).is_some_and(|extent| number_lies(value, extent))),
        "quantity" => found.any(|element| quantity_fits(&element, value)),
        "composite" => {
            let (code, quantity) = value.split_once('$').unwrap();
            found.any(|part| {
                at(&part, &["code"]).iter().any(|element| token(element, code))
                    && at(&part, &["valueQuantity"]).iter().any(|element| quantity_fits(element, quantity))
            })
        }
        _ => panic!("{kind}"),
    }
}

fn token(element: &Value, wanted: &str) -> bool {
    let Some(codings) = element["coding"].as_array() else {
        return element.as_str() == Some(wanted) || element.as_bool().is_some_and(|yes| yes.to_string() == wanted);
    };
    codings.iter().any(|coding| match wanted.split_once('|') {
        None => coding["code"] == wanted,
        Some(("", code)) => coding["code"] == code && coding["system"].is_null(),
        Some((system, code)) => coding["code"] == code && coding["system"] == system,
    })
}

fn string(found: &str, wanted: &str, modifier: &str) -> bool {
    let folded = |text: &str| {
        let plain = text.to_lowercase().replace(['ú', 'ü'], "u").replace('ñ', "n").replace('é', "e");
        plain.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    match modifier {
        "exact" => found == wanted,
        "contains" => folded(found).contains(&folded(wanted)),
        _ => folded(found).starts_with(&folded(wanted)),
    }
}

const LEAST: i128 = i128::MIN / 100;
const MOST: i128 = i128::MAX / 100;
/// What a number is counted in: so small that one more or less is beyond what any test writes.
const UNIT: i128 = 1_000_000_000_000;

/// A number in units, and what its last digit is worth.
fn scaled(text: &str) -> (i128, i128) {
    let (mantissa, exponent) =
        text.split_once('e').map_or((text, 0), |(mantissa, exponent)| (mantissa, exponent.parse().unwrap()));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let last = UNIT * 10i128.pow(exponent) / 10i128.pow(fraction.len() as u32);
    (format!("{whole}{fraction}").parse::<i128>().unwrap() * last, last)
}

/// The least and the greatest number that an element may be.
fn extent(element: &Value) -> Option<(i128, i128)> {
    let value = |element: &Value| element.as_number().map(|number| scaled(&number.to_string()).0);
    if let Some(exact) = value(element) {
        return Some((exact, exact));
    }
    match (value(&element["value"]), element["comparator"].as_str()) {
        (Some(exact), None) => Some((exact, exact)),
        (Some(exact), Some("<")) => Some((LEAST, exact - 1)),
        (Some(exact), Some("<=")) => Some((LEAST, exact)),
        (Some(exact), Some(">")) => Some((exact + 1, MOST)),
        (Some(exact), Some(_)) => Some((exact, MOST)),
        (None, _) => {
            let (low, high) = (value(&element["low"]["value"]), value(&element["high"]["value"]));
            (low.is_some() || high.is_some()).then_some((low.unwrap_or(LEAST), high.unwrap_or(MOST)))
        }
    }
}

fn prefix(text: &str) -> (&str, &str) {
    if text.starts_with(|c: char| c.is_ascii_lowercase()) { text.split_at(2) } else { ("eq", text) }
}

fn number_lies(wanted: &str, (low, high): (i128, i128)) -> bool {
    let (prefix, number) = prefix(wanted);
    let (exact, last) = scaled(number);
    let within = low >= exact - last / 2 && high < exact + last / 2;
    match prefix {
        "eq" => within,
        "ne" => !within,
        "gt" => high > exact,
        "lt" => low < exact,
        "ge" => high >= exact,
        "le" => low <= exact,
        "sa" => low > exact,
        "eb" => high < exact,
        _ => low <= exact + exact.abs() / 10 && high >= exact - exact.abs() / 10,
    }
}

fn quantity_fits(element: &Value, wanted: &str) -> bool {
    let mut parts = wanted.split('|');
    let (number, system, code) = (parts.next().unwrap(), parts.next(), parts.next());
    let in_unit = match (system, code) {
        (Some(""), Some(code)) => element["code"] == code || element["unit"] == code,
        (Some(system), Some(code)) => element["code"] == code && element["system"] == system,
        _ => true,
    };
    in_unit && extent(element).is_some_and(|extent| number_lies(number, extent))
}

/// Milliseconds, from the first one to the one after the last.
type Span = (i128, i128);

fn span(text: &str) -> Span {
    let at = |text: &str| Timestamp::parse(text).unwrap().milliseconds();
    let next = |text: &str, by: usize| format!("{:0width$}", text.parse::<u32>().unwrap() + 1, width = by);
    match text.len() {
        4 => (at(&format!("{text}-01-01T00:00:00Z")), at(&format!("{}-01-01T00:00:00Z", next(text, 4)))),
        7 => (at(&format!("{text}-01T00:00:00Z")), at(&format!("{}-{}-01T00:00:00Z", &text[..4], next(&text[5..], 2)))),
        10 => (at(&format!("{text}T00:00:00Z")), at(&format!("{text}T00:00:00Z")) + 86_400_000),
        _ if text.contains('.') => (at(text), at(text) + 1),
        _ => (at(text), at(text) + 1000),
    }
}

fn of_date(element: &Value) -> Span {
    let Some(text) = element.as_str() else {
        let bound = |name: &str| element[name].as_str().map(span);
        return (bound("start").map_or(LEAST, |span| span.0), bound("end").map_or(MOST, |span| span.1));
    };
    span(text)
}

fn date_lies(wanted: &str, (start, after): Span, when: When<'_>) -> bool {
    let (prefix, date) = prefix(wanted);
    let (from, to) = span(date);
    let within = start >= from && after <= to;
    match prefix {
        "eq" => within,
        "ne" => !within,
        "gt" => after > to,
        "lt" => start < from,
        "ge" => after > from,
        "le" => start < to,
        "sa" => start >= to,
        "eb" => after <= from,
        _ => {
            let at = when.transaction_time.milliseconds();
            let gap = if at >= to { at - to } else { from - at }.max(0);
            start * 10 < to * 10 + gap && after * 10 > from * 10 - gap
        }
    }
}
