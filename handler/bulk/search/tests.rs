//! Filters against an obvious search through trees of JSON.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::bulk::timestamp::Timestamp;

const BASE: &str = "https://fhir.example";
const STORE: Store<'_> = Store { base: BASE, release: Release::R4 };
/// The transaction time.
const AT: &str = "2026-01-01T00:00:00Z";

fn read(text: &str) -> Result<(Filter, Vec<Problem>), Problem> {
    Filter::read(text, STORE)
}

/// Whether filters that are read without a problem let a resource pass.
fn passes(filters: &[&str], resource: &Value) -> bool {
    let filters: Vec<Filter> = filters
        .iter()
        .map(|text| {
            let (filter, problems) = read(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
            assert_eq!(problems, [], "{text}");
            filter
        })
        .collect();
    let document = Document {
        resource_type: resource["resourceType"].as_str().unwrap().into(),
        last_modified: Timestamp::parse("2025-06-01T12:00:00.5Z").unwrap().last_modified().into(),
        ..Document::default()
    };
    let at = Timestamp::parse(AT).unwrap();
    Filters::new(&filters, STORE, at).unwrap().let_pass(&document, resource.to_string().as_str()).unwrap()
}

fn observation() -> Value {
    json!({
        "resourceType": "Observation", "id": "o1", "status": "final",
        "meta": { "profile": ["http://x/p|1.0", "http://x/q"], "tag": [{ "system": "t", "code": "a" }] },
        "identifier": [{ "system": "i", "value": "a,b|c" }],
        "category": [{ "coding": [{ "system": "c", "code": "vital-signs" }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": "8867-4" }, { "code": "hr" }], "text": "Pulse" },
        "subject": { "reference": "Patient/p1", "identifier": { "system": "mrn", "value": "7" } },
        "performer": [{ "reference": "https://other.example/Practitioner/d" }],
        "effectivePeriod": { "start": "2025-03-01", "end": "2025-03-31" },
    })
}

#[test]
fn a_filter_finds_what_it_is_for() {
    for (search, expected) in [
        ("status=final", true),
        ("status=preliminary,final", true),
        ("status=preliminary", false),
        ("status:not=preliminary", true),
        ("status:not=preliminary,final", false),
        ("encounter:missing=true", true),
        ("encounter:missing=false", false),
        ("status:missing=false", true),
        ("code=8867-4", true),
        ("code=http://loinc.org|8867-4", true),
        ("code=http://loinc.org|", true),
        ("code=http://snomed.info/sct|8867-4", false),
        ("code=|hr", true),
        ("code=|8867-4", false),
        ("code=Pulse", false),
        ("category=vital-signs&status=final", true),
        ("category=vital-signs&status=amended", false),
        ("identifier=i|a\\,b\\|c", true),
        ("identifier=a,b|c", false),
        ("identifier=i%7Ca%5C%2Cb%5C%7Cc", true),
        ("subject=Patient/p1", true),
        ("subject=p1", true),
        ("subject=https://fhir.example/Patient/p1", true),
        ("subject=Group/p1", false),
        ("subject:Patient=p1", true),
        ("subject:Group=p1", false),
        ("subject:identifier=mrn|7", true),
        ("subject:identifier=mrn|8", false),
        ("patient=p1", true),
        ("patient=p2,Patient/p1", true),
        ("patient=p2", false),
        ("performer=https://other.example/Practitioner/d", true),
        ("performer=Practitioner/d", false),
        ("_id=o1", true),
        ("_id=o2", false),
        ("_tag=t|a", true),
        ("_profile=http://x/p", true),
        ("_profile=http://x/p|1.0", true),
        ("_profile=http://x/p|2.0", false),
        ("_profile=http://x", false),
        ("date=2025-03", true),
        ("date=2025-03-01", false),
        ("date=ge2025-03-31&date=le2025-03-01", true),
        ("date=gt2025-03-31", false),
        ("_lastUpdated=2025-06-01", true),
        ("_lastUpdated=ge2025-06-01T14:00:00+02:00", true),
        ("_lastUpdated=gt2025-06-01T12:00:01Z", false),
    ] {
        assert_eq!(passes(&[&format!("Observation?{search}")], &observation()), expected, "{search}");
    }
    // Several filters of a type are alternatives; those of other types are about others.
    assert!(passes(&["Observation?status=amended", "Observation?code=hr"], &observation()));
    assert!(!passes(&["Observation?status=amended", "Condition?code=hr"], &observation()));
    assert!(passes(&["Condition?code=hr"], &observation()));
    for (deceased, expected) in [("deceasedBoolean", false), ("deceasedDateTime", true), ("other", false)] {
        let value = if deceased == "deceasedBoolean" { json!(false) } else { json!("2020") };
        let patient = json!({ "resourceType": "Patient", deceased: value });
        assert_eq!(passes(&["Patient?deceased=true"], &patient), expected, "{deceased}");
        assert_eq!(passes(&["Patient?deceased=false"], &patient), !expected, "{deceased}");
    }
    let active = json!({ "resourceType": "Patient", "active": true });
    assert!(passes(&["Patient?active=true"], &active) && !passes(&["Patient?active=false"], &active));
}

#[test]
fn text_is_found_by_its_beginning_some_of_it_or_all_of_it() {
    let patient = json!({
        "resourceType": "Patient",
        "name": [
            { "family": "Núñez  de la Torre", "given": ["José", null, "Maria"], "prefix": ["Dr."] },
            { "text": "Pepe" },
        ],
        "address": [{ "line": ["Große Straße 5"], "city": "Köln", "postalCode": "50667", "use": "home" }],
        "telecom": [{ "system": "phone", "value": "0221 5" }, { "system": "email", "value": "a@b" }],
    });
    for (search, expected) in [
        ("family=nun", true),
        ("family=NÚÑEZ de", true),
        ("family=Torre", false),
        ("family:contains=torre", true),
        ("family:exact=Núñez  de la Torre", true),
        ("family:exact=Núñez de la Torre", false),
        ("family:exact=núñez  de la Torre", false),
        ("given=mar", true),
        ("given=jose", true),
        ("given=nun", false),
        ("name=dr", true),
        ("name=pepe", true),
        ("name=x,PEP", true),
        ("name=torre", false),
        ("address=grosse str", true),
        ("address=50667", true),
        ("address=home", false),
        ("address-city=koln", true),
        ("address-city:contains=ln", true),
        ("address-postalcode=5066", true),
        ("address-use=home", true),
        ("address-country:missing=true", true),
        ("email=a@b", true),
        ("phone=a@b", false),
        ("phone:missing=false", true),
        ("telecom=0221 5", true),
        ("telecom:not=0221 5", false),
    ] {
        assert_eq!(passes(&[&format!("Patient?{search}")], &patient), expected, "{search}");
    }
}

#[test]
fn numbers_and_quantities_are_compared_exactly() {
    let quantity = |value: Value| json!({ "resourceType": "Observation", "valueQuantity": value });
    let of = |number: &str, unit: Value| {
        let mut quantity = serde_json::from_str::<Value>(&format!(r#"{{"value":{number}}}"#)).unwrap();
        unit.as_object().unwrap().iter().for_each(|(name, value)| quantity[name] = value.clone());
        quantity
    };
    let ucum = json!({ "unit": "kilo", "system": "http://unitsofmeasure.org", "code": "kg" });
    for (search, number, expected) in [
        ("5.4", "5.4", true),
        ("5.4", "5.35", true),
        ("5.4", "5.449", true),
        ("5.4", "5.45", false),
        ("5.40", "5.35", false),
        ("eq5.4", "5.3", false),
        ("ne5.4", "5.3", true),
        ("ne5.4", "5.44", false),
        ("gt5.4", "5.41", true),
        ("gt5.4", "5.4", false),
        ("ge5.4", "5.4", true),
        ("lt5.4", "5.39", true),
        ("le5.4", "5.41", false),
        ("sa5.4", "5.41", true),
        ("eb5.4", "5.41", false),
        ("ap100", "110", true),
        ("ap100", "89", false),
        ("ap-100", "-95", true),
        ("5.4|http://unitsofmeasure.org|kg", "5.4", true),
        ("5.4|http://unitsofmeasure.org|g", "5.4", false),
        ("5.4|http://other.example|kg", "5.4", false),
        ("5.4||kg", "5.4", true),
        ("5.4||kilo", "5.4", true),
        ("5.4||g", "5.4", false),
        ("1,gt5", "6", true),
    ] {
        let found = passes(&[&format!("Observation?value-quantity={search}")], &quantity(of(number, ucum.clone())));
        assert_eq!(found, expected, "{search} {number}");
    }
    // Of the same text, f64 would make the same number.
    let resource = r#"{"resourceType":"Observation","valueQuantity":{"value":0.123456789012345679}}"#;
    for (search, expected) in
        [("gt0.123456789012345678", true), ("0.123456789012345678", false), ("ge0.123456789012345679", true)]
    {
        let (filter, _) = read(&format!("Observation?value-quantity={search}")).unwrap();
        let filters = Filters::new(&[filter], STORE, Timestamp::parse(AT).unwrap()).unwrap();
        let document = Document { resource_type: "Observation".into(), ..Document::default() };
        assert_eq!(filters.let_pass(&document, resource), Ok(expected), "{search}");
    }
    // `<5` may be 4, and may be nothing from 5 on.
    for (search, comparator, expected) in [
        ("lt5", "<", true),
        ("gt4", "<", true),
        ("gt5", "<", false),
        ("ge5", "<", false),
        ("ge5", "<=", true),
        ("eb5", "<", true),
        ("eb5", "<=", false),
        ("5", "<", false),
        ("ne5", "<", true),
        ("sa5", ">", true),
        ("sa5", ">=", false),
        ("le5", ">", false),
        ("lt6", ">=", true),
    ] {
        let resource = quantity(of("5", json!({ "comparator": comparator })));
        assert_eq!(
            passes(&[&format!("Observation?value-quantity={search}")], &resource),
            expected,
            "{search} {comparator}"
        );
    }
    let risk = |probability: Value| json!({ "resourceType": "RiskAssessment", "prediction": [probability] });
    for (search, probability, expected) in [
        ("gt0.8", json!({ "probabilityDecimal": 0.81 }), true),
        ("0.8", json!({ "probabilityDecimal": 0.84 }), true),
        ("0.8", json!({ "probabilityRange": { "low": { "value": 0.76 }, "high": { "value": 0.84 } } }), true),
        ("0.8", json!({ "probabilityRange": { "low": { "value": 0.7 }, "high": { "value": 0.84 } } }), false),
        ("gt0.8", json!({ "probabilityRange": { "low": { "value": 0.7 } } }), true),
        ("lt0.8", json!({ "probabilityRange": { "low": { "value": 0.8 } } }), false),
        ("lt0.8", json!({ "probabilityRange": {} }), false),
        ("gt0.8", json!({ "probabilityDecimal": "0.9" }), false),
    ] {
        assert_eq!(
            passes(&[&format!("RiskAssessment?probability={search}")], &risk(probability)),
            expected,
            "{search}"
        );
    }
    let invoice = json!({ "resourceType": "Invoice", "totalGross": { "value": 12.5, "currency": "EUR" } });
    for (search, expected) in [("12.5||EUR", true), ("12.5|urn:iso:std:iso:4217|EUR", true), ("gt12||USD", false)] {
        assert_eq!(passes(&[&format!("Invoice?totalgross={search}")], &invoice), expected, "{search}");
    }
}

#[test]
fn the_parts_of_a_composite_are_found_together() {
    let observation = json!({
        "resourceType": "Observation",
        "code": { "coding": [{ "system": "l", "code": "bp" }] },
        "valueQuantity": { "value": 1 },
        "component": [
            { "code": { "coding": [{ "system": "l", "code": "sys" }] }, "valueQuantity": { "value": 120, "code": "mm" } },
            { "code": { "coding": [{ "code": "dia$" }] }, "valueQuantity": { "value": 80, "code": "mm" } },
            { "code": { "coding": [{ "code": "none" }] } },
        ],
    });
    for (search, expected) in [
        ("code-value-quantity=bp$1", true),
        ("code-value-quantity=l|bp$lt2", true),
        ("code-value-quantity=sys$120", false),
        ("component-code-value-quantity=l|sys$gt110||mm", true),
        ("component-code-value-quantity=sys$80", false),
        ("component-code-value-quantity=dia\\$$80", true),
        ("component-code-value-quantity=sys$80,dia\\$$80", true),
        ("component-code-value-quantity=bp$1", false),
        ("component-code-value-quantity=none$ne1", false),
        ("combo-code-value-quantity=bp$1", true),
        ("combo-code-value-quantity=sys$120", true),
        ("code-value-concept:missing=true", true),
        ("code-value-quantity:missing=false", true),
        ("component-code=none&component-value-quantity=80", true),
    ] {
        assert_eq!(passes(&[&format!("Observation?{search}")], &observation), expected, "{search}");
    }
}

#[test]
fn approximately_a_date_is_within_a_tenth_of_the_time_since_then() {
    // A year before the transaction time, and so 36 days and a half to both sides.
    for (date, expected) in [("2024-11-24", false), ("2024-11-25", true), ("2025-02-06", true), ("2025-02-07", false)] {
        let request = json!({ "resourceType": "MedicationRequest", "authoredOn": date });
        assert_eq!(passes(&["MedicationRequest?authoredon=ap2025-01-01T00:00:00Z"], &request), expected, "{date}");
    }
    let schedule = json!({
        "resourceType": "Observation",
        "effectiveTiming": { "event": ["2025-03", "2025-01-05"], "repeat": { "boundsPeriod": { "start": "2025-02-01", "end": "2025-02-03" } } },
    });
    for (search, expected) in
        [("sa2025-01-04", true), ("ge2025-03-31", true), ("gt2025-03-31", false), ("2025", true), ("2025-03", false)]
    {
        assert_eq!(passes(&[&format!("Observation?date={search}")], &schedule), expected, "{search}");
    }
    let without_dates = json!({ "resourceType": "Observation", "effectiveTiming": { "repeat": { "count": 1 } } });
    assert!(!passes(&["Observation?date=ne2025"], &without_dates));
}

#[test]
fn what_cannot_be_searched_is_said_and_no_value_is_repeated() {
    for (text, supported) in [
        ("Observation?_sort=secret", false),
        ("Observation?_include=secret", false),
        ("Observation?subject.name=secret", false),
        ("Observation?_has:Group:member:_id=secret", false),
        ("Observation?code:text=secret", false),
        ("Observation?code:in=secret", false),
        ("Observation?subject:Nobody=secret", false),
        ("Observation?date:not=2025", false),
        ("Observation?nonsense=secret", false),
        ("Observation?status=", true),
        ("Observation?status=final,", true),
        ("Observation?code=a|b|c", true),
        ("Observation?code=|", true),
        ("Observation?date=secret", true),
        ("Observation?date=zz2025", true),
        ("Observation?value-quantity=secret", true),
        ("Observation?value-quantity=5|kg", true),
        ("Observation?value-quantity=5|http://unitsofmeasure.org|", true),
        ("Observation?value-quantity=5,", true),
        ("Observation?value-quantity:exact=5", false),
        ("Observation?value-string:text=secret", false),
        ("Observation?value-string=%20", true),
        ("Observation?code-value-quantity=secret", true),
        ("Observation?code-value-quantity=secret$5$6", true),
        ("Observation?code-value-quantity:not=secret$5", false),
        ("Patient?phonetic=secret", false),
        ("Patient?email=home|secret", true),
        ("Observation?date=2025-02-30", true),
        ("Observation?subject=not%20an%20id", true),
        ("Observation?subject:Patient=Group/g", true),
        ("Observation?status:missing=maybe", true),
    ] {
        let (filter, problems) = read(text).unwrap();
        assert!(filter.parameters.is_empty(), "{text}");
        let [problem] = &problems[..] else { panic!("{text}: {problems:?}") };
        assert_eq!(matches!(problem, Problem::BadValue(_)), supported, "{text}: {problem:?}");
        assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
    }
    for text in ["", "Observation", "?status=final", "status=final", "Nonsense?a=b", "/Observation?a=b", "Observation?"]
    {
        assert!(read(text).is_err(), "{text}");
    }
    let (filter, problems) = read("Observation?status=final&nonsense=1").unwrap();
    assert_eq!((filter.parameters.len(), problems.len()), (1, 1));
}

#[test]
fn a_list_is_split_where_a_filter_begins() {
    for (list, expected) in [
        ("Observation?code=a,b", &["Observation?code=a,b"][..]),
        ("Observation?code=a,b,MedicationRequest?status=x", &["Observation?code=a,b", "MedicationRequest?status=x"]),
        ("Observation?code=a\\,Patient?x", &["Observation?code=a\\,Patient?x"]),
        ("Observation?code=a,patient?x", &["Observation?code=a,patient?x"]),
        ("", &[""]),
    ] {
        assert_eq!(split(list), expected, "{list}");
    }
}

/// A date, and the days that it is: months have 31 of them, which changes no order.
#[derive(Clone, Debug)]
struct Day {
    text: String,
    first: u32,
    last: u32,
}

fn day() -> impl Strategy<Value = Day> {
    (2024..2026u32, 1..4u32, 1..4u32, 0..3).prop_map(|(year, month, day, precision)| {
        let start = year * 372;
        let of_month = start + (month - 1) * 31;
        match precision {
            0 => Day { text: format!("{year}"), first: start, last: start + 371 },
            1 => Day { text: format!("{year}-{month:02}"), first: of_month, last: of_month + 30 },
            _ => {
                Day { text: format!("{year}-{month:02}-{day:02}"), first: of_month + day - 1, last: of_month + day - 1 }
            }
        }
    })
}

/// As the translation of the FHIR server has it, over closed ranges.
fn lies(prefix: &str, (first, last): (u32, u32), day: &Day) -> bool {
    let within = first >= day.first && last <= day.last;
    match prefix {
        "" | "eq" => within,
        "ne" => !within,
        "ge" => last >= day.first,
        "le" => first <= day.last,
        "gt" => last > day.last,
        "lt" => first < day.first,
        "sa" => first > day.last,
        _ => last < day.first,
    }
}

fn codings() -> impl Strategy<Value = Vec<(Option<&'static str>, &'static str)>> {
    prop::collection::vec(
        (prop::option::of(select(&["s", "t"][..])), select(&["a", "b", "a,b", "a|b", "\\"][..])),
        0..3,
    )
}

proptest! {
    #[test]
    fn dates_lie_as_the_server_has_them(
        from in prop::option::of(day()),
        to in prop::option::of(day()),
        wanted in day(),
        prefix in select(&["", "eq", "ne", "ge", "le", "gt", "lt", "sa", "eb"][..]),
    ) {
        let search = format!("Encounter?date={prefix}{}", wanted.text);
        let mut encounter = json!({ "resourceType": "Encounter" });
        let bounds = (from.as_ref().map_or(0, |day| day.first), to.as_ref().map_or(u32::MAX, |day| day.last));
        if from.is_some() || to.is_some() {
            encounter["period"] = json!({});
        }
        from.iter().for_each(|day| encounter["period"]["start"] = day.text.as_str().into());
        to.iter().for_each(|day| encounter["period"]["end"] = day.text.as_str().into());
        let expected = encounter.get("period").is_some() && lies(prefix, bounds, &wanted);
        // A period that ends before it begins is none.
        prop_assume!(bounds.0 <= bounds.1);
        prop_assert_eq!(passes(&[&search], &encounter), expected, "{} {}", search, encounter);
        if let (Some(day), None) = (&from, &to) {
            let request = json!({ "resourceType": "MedicationRequest", "authoredOn": day.text });
            let search = format!("MedicationRequest?authoredon={prefix}{}", wanted.text);
            prop_assert_eq!(passes(&[&search], &request), lies(prefix, (day.first, day.last), &wanted), "{} {}", search, request);
        }
    }

    #[test]
    fn tokens_are_found_as_they_stand(codings in codings(), wanted in codings(), by_system: bool, not: bool) {
        prop_assume!(!wanted.is_empty());
        let coding = |(system, code): &(Option<&str>, &str)| match system {
            Some(system) => json!({ "system": system, "code": code }),
            None => json!({ "code": code }),
        };
        let condition = json!({
            "resourceType": "Condition", "code": { "coding": codings.iter().map(coding).collect::<Vec<_>>() },
        });
        let escaped = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,").replace('|', "\\|");
        let spelled = |(system, code): &(Option<&str>, &str)| match by_system {
            true => format!("{}|{}", system.unwrap_or_default(), escaped(code)),
            false => escaped(code),
        };
        let values = wanted.iter().map(spelled).collect::<Vec<_>>().join(",");
        let value: String = url::form_urlencoded::byte_serialize(values.as_bytes()).collect();
        let search = format!("Condition?code{}={value}", if not { ":not" } else { "" });
        let same = |a: &(Option<&str>, &str), b: &(Option<&str>, &str)| a.1 == b.1 && (!by_system || a.0 == b.0);
        let found = codings.iter().any(|coding| wanted.iter().any(|wanted| same(coding, wanted)));
        prop_assert_eq!(passes(&[&search], &condition), found != not, "{} {}", search, condition);
    }
}
