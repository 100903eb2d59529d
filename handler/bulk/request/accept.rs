//! `Accept` of a kick-off: whatever lets JSON through is fine (requirement HD-01).

use crate::bulk::rejection::Rejection;

/// What a kick-off may be answered with; a client that takes one of them is taken to take the other.
const ANSWERS: [&str; 2] = ["application/fhir+json", "application/json"];

/// Refuses a header that rules out JSON. A missing or empty one is taken as `application/fhir+json`.
pub fn check(accept: &str) -> Result<(), Rejection> {
    if accept.trim().is_empty() || ANSWERS.iter().any(|answer| accepts(accept, answer)) {
        return Ok(());
    }
    Err(Rejection::not_acceptable("The Accept header rules out JSON; send application/fhir+json or nothing."))
}

/// Whether the most specific range that fits has a weight above zero.
fn accepts(accept: &str, answer: &str) -> bool {
    let fitting = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(parts.next()?, answer)?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((specificity, weight.is_none_or(|weight| weight.parse() != Ok(0.0))))
    });
    // Of two that are equally specific one is enough.
    fitting.max().is_some_and(|(_, above_zero)| above_zero)
}

fn specificity(range: &str, answer: &str) -> Option<u8> {
    match range.to_ascii_lowercase().as_str() {
        "*/*" => Some(0),
        "application/*" => Some(1),
        exact => (exact == answer).then_some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_header_that_rules_out_json_is_refused() {
        for accept in [
            "",
            " ",
            "application/fhir+json",
            "application/fhir+json; fhirVersion=4.0",
            "Application/JSON;q=0.5",
            "*/*",
            "text/html, application/*",
            "text/html,*/*;q=0.1",
            "application/json;q=0, application/*",
            "application/fhir+json;q=0, application/fhir+json;q=1",
            "application/json;q=nonsense",
        ] {
            assert_eq!(check(accept), Ok(()), "{accept}");
        }
        for accept in [
            "application/xml",
            "text/html, image/*",
            "application/fhir+ndjson",
            "json",
            "*/*;q=0",
            "*/*;q=0.0",
            "application/json;q=0, application/fhir+json;Q=0.000, */*",
        ] {
            assert_eq!(check(accept).map_err(|refusal| refusal.status), Err(406), "{accept}");
        }
    }
}
