//! Queries as the engine of the emulator answers them quickly.
//!
//! For each `c.name` the engine makes a copy of the whole document and takes the member out of it: of a Group with 10,000
//! members and their index, twenty times in a query. A `name` by itself means the same to it, and only the member is copied.

use azure_core::http::Request;
use bytes::Bytes;
use serde_json::Value;

/// Words of queries that are left as they are: there a name by itself may mean something else.
const NOT_PLAIN: [&str; 8] = ["JOIN", "IN", "ORDER", "GROUP", "ARRAY", "EXISTS", "DISTINCT", "AS"];

/// The same request, with the names of members by themselves.
pub fn lean(request: &Request) -> Request {
    let mut request = request.clone();
    if let Some(body) = lean_body(&Bytes::from(request.body())) {
        request.set_body(body);
    }
    request
}

fn lean_body(body: &[u8]) -> Option<Vec<u8>> {
    let mut asked: Value = serde_json::from_slice(body).ok()?;
    let text = lean_text(asked.get("query")?.as_str()?)?;
    asked["query"] = text.into();
    serde_json::to_vec(&asked).ok()
}

/// None: as it is.
fn lean_text(text: &str) -> Option<String> {
    let words = || text.split(|c: char| !is_of_name(c)).filter(|word| !word.is_empty());
    let is = |word: &str, what: &str| word.eq_ignore_ascii_case(what);
    let is_plain = words().filter(|word| is(word, "SELECT")).count() == 1
        && !words().any(|word| NOT_PLAIN.iter().any(|odd| is(word, odd)))
        && !text.contains(['\'', '"', '[', '{']);
    // Of the container by this name, and no other.
    let from = words().skip_while(|word| !is(word, "FROM")).skip(1).take(2).collect::<Vec<_>>();
    let of_c = matches!(from[..], ["c"]) || matches!(from[..], ["c", next] if is(next, "WHERE"));
    if !is_plain || !of_c {
        return None;
    }
    let mut parts = text.split("c.");
    let mut lean = parts.next()?.to_owned();
    for part in parts {
        let name = part.split(|c: char| !is_of_name(c)).next().unwrap_or_default();
        // A name that is all small letters may be a word of the language.
        let is_name = name.contains(|c: char| c.is_ascii_uppercase() || c == '_');
        if lean.ends_with(|c: char| is_of_name(c) || c == '.') || !is_name {
            lean.push_str("c.");
        }
        lean.push_str(part);
    }
    Some(lean)
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || ['_', '@', '$'].contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_by_themselves_where_that_means_the_same() {
        for (text, expected) in [
            ("SELECT * FROM c", "SELECT * FROM c"),
            (
                "SELECT c.resourceId, c._etag FROM c WHERE c.isHistory = false AND (NOT IS_DEFINED(c.rawResource.metaSet) \
                 OR c.lastModified>@c.value)",
                "SELECT resourceId, _etag FROM c WHERE isHistory = false AND (NOT IS_DEFINED(rawResource.metaSet) \
                 OR lastModified>@c.value)",
            ),
            (
                "SELECT VALUE c.id FROM c where c.abc.isIt = abc.isIt",
                "SELECT VALUE c.id FROM c where c.abc.isIt = abc.isIt",
            ),
        ] {
            assert_eq!(lean_text(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn whatever_is_not_plain_is_left_as_it_is() {
        for text in [
            "SELECT c.isHistory FROM c JOIN s IN c.searchIndices WHERE s.isIt = c.isIt",
            "SELECT c.isHistory AS x FROM c",
            "SELECT c.isHistory FROM d",
            "SELECT c.isHistory FROM c AS d",
            "SELECT c.isHistory FROM c d WHERE d.isIt = 1",
            "SELECT c.isHistory FROM c.isIt",
            "SELECT c.isHistory FROM c ORDER BY c.isIt",
            "SELECT c.isHistory FROM c WHERE c.isIt = 'c.isIt'",
            "SELECT c.isHistory FROM c WHERE c[\"isIt\"] = 1",
            "SELECT c.isHistory FROM c WHERE EXISTS(SELECT VALUE s FROM s)",
        ] {
            assert_eq!(lean_text(text), None, "{text}");
        }
    }
}
