//! One document to one line of NDJSON: the stored text byte for byte, with `meta` set where the server would set it.
//!
//! The store has three eras (`facts`: the Cosmos store, §1.4). When `isMetaSet` is true the text is copied. Otherwise
//! `meta.versionId` and `meta.lastUpdated` come from the wrapper, replaced where they stand or appended where they are
//! missing, as the server does on every read. Numbers and everything else are never rendered anew.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::data::Unwritable;
use super::document::Document;
use super::meta;
use super::note::{Note, Severity};
use super::paths::NotJson;
use super::plan::KeyRange;
use super::selection::Selection;
use super::shape;
use super::unescaped::Unescaped;

/// What is wrong with a document, for the `error` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `rawResource.data` is no text.
    NoText,
    /// `rawResource.format` is not JSON.
    NotJsonFormat,
    /// The text holds half of a surrogate pair or other bytes that are no UTF-8.
    NotUtf8,
    /// The text is not one JSON object, or repeats one of `resourceType`, `id`, `meta`.
    NotJson,
    /// The text has no `resourceType`, or another one than the document.
    OtherType,
    /// The document has no version or time to put into `meta`.
    NoMeta,
    /// The text has another `id` than the document. It is exported all the same.
    OtherId,
}

impl Flaw {
    fn explained(self) -> &'static str {
        match self {
            Flaw::NoText => "its document holds no resource text",
            Flaw::NotJsonFormat => "its stored format is not JSON",
            Flaw::NotUtf8 => "its text cannot be written as UTF-8 (half of a surrogate pair?)",
            Flaw::NotJson => "its text is not one JSON object",
            Flaw::OtherType => "the resourceType in its text is missing or differs from that of its document",
            Flaw::NoMeta => "its document has no version or lastModified to complete meta with",
            Flaw::OtherId => "the id in its text is missing or differs from that of its document",
        }
    }

    /// For the `error` file: names the resource and says what to do.
    pub fn note(self, document: &Document) -> Note {
        let reference = document.reference();
        let why = self.explained();
        let note = match self {
            Flaw::OtherId => {
                let diagnostics = format!("{reference} was exported as it is stored, but {why}.");
                Note::new(Severity::Warning, "invariant", diagnostics)
            }
            Flaw::NoText | Flaw::NotJsonFormat | Flaw::NotUtf8 | Flaw::NotJson | Flaw::OtherType | Flaw::NoMeta => {
                let diagnostics = format!("{reference} was not exported: {why}. Repair it in the store.");
                Note::new(Severity::Error, "invalid", diagnostics)
            }
        };
        note.about(reference)
    }
}

/// A line of the `error` file for a range of the store that could not be read.
pub fn lost_range(range: &KeyRange) -> Note {
    let KeyRange { min, max } = range;
    let diagnostics =
        format!("The resources between the partition keys \"{min}\" and \"{max}\" could not all be read.");
    Note::new(Severity::Error, "incomplete", diagnostics)
}

/// Why no line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    Flawed(Flaw),
    /// The text is no JSON string in the answer of the store: not the document is at fault, but the answer.
    Garbled,
}

impl From<Flaw> for Unwritten {
    fn from(flaw: Flaw) -> Self {
        Unwritten::Flawed(flaw)
    }
}

impl From<Unwritable> for Unwritten {
    fn from(unwritable: Unwritable) -> Self {
        match unwritable {
            Unwritable::NotUtf8 => Flaw::NotUtf8.into(),
            Unwritable::Garbled => Unwritten::Garbled,
        }
    }
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Line,
    /// A line, although something about it should be told.
    Flawed(Flaw),
    /// It is none of those that are selected.
    LeftOut,
}

/// Appends the line for `document` to `out`, with its line end. If there is none, `out` is as it was.
pub fn append(document: &Document, selection: &Selection, out: &mut Vec<u8>) -> Result<Appended, Unwritten> {
    append_text(document, None, selection, out)
}

/// The same, of a document whose text may have been unescaped already.
pub fn append_text(
    document: &Document,
    text: Option<&Unescaped>,
    selection: &Selection,
    out: &mut Vec<u8>,
) -> Result<Appended, Unwritten> {
    let start = out.len();
    let appended = try_append(document, text, selection, out);
    take_out_unless_line(appended, out, start)
}

/// Makes a text its document's line, where it stands. If there is none, nothing is left there.
pub fn complete(document: &Document, text: &mut Unescaped, selection: &Selection) -> Result<Appended, Unwritten> {
    text.becomes_line(|out, start, shape| {
        let appended = finish(document, selection, out, start, shape);
        take_out_unless_line(appended, out, start)
    })
}

/// Nothing is left of what is no line.
fn take_out_unless_line(
    appended: Result<Appended, Unwritten>,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<Appended, Unwritten> {
    match appended {
        Ok(Appended::Line | Appended::Flawed(_)) => {}
        Ok(Appended::LeftOut) | Err(_) => out.truncate(start),
    }
    appended
}

/// Without what may stand around JSON, and a byte order mark.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim_matches([' ', '\t', '\r', '\n'])
}

fn with_id(is_the_same: bool) -> Appended {
    if is_the_same { Appended::Line } else { Appended::Flawed(Flaw::OtherId) }
}

/// The text goes straight to where its line shall be.
fn try_append(
    document: &Document,
    text: Option<&Unescaped>,
    selection: &Selection,
    out: &mut Vec<u8>,
) -> Result<Appended, Unwritten> {
    if document.format.as_deref().is_some_and(|format| format != "Json") {
        return Err(Flaw::NotJsonFormat.into());
    }
    let start = out.len();
    let known = match text.and_then(|text| Some((text, text.shape()?))) {
        Some((text, shape)) => {
            out.extend_from_slice(text.bytes());
            Some(shape.clone())
        }
        None => {
            document.data.as_ref().ok_or(Flaw::NoText)?.append_to(out)?;
            None
        }
    };
    finish(document, selection, out, start, known)
}

/// Nearly always the text that stands from `start` on is the line. Its shape may be known.
fn finish(
    document: &Document,
    selection: &Selection,
    out: &mut Vec<u8>,
    start: usize,
    known: Option<shape::Shape>,
) -> Result<Appended, Unwritten> {
    if selection.elements.is_none()
        && !document.is_deleted
        && let Some(shape) = known.or_else(|| shape::Shape::of(&out[start..]))
    {
        let says = |span: Option<Range<usize>>, expected: &str| {
            let raw = span.map(|span| &out[start..][span]);
            let plain = raw.and_then(|raw| raw.strip_prefix(b"\"")?.strip_suffix(b"\""));
            plain == Some(expected.as_bytes()) || Present(raw.and_then(|raw| str::from_utf8(raw).ok())).says(expected)
        };
        if !says(shape.resource_type, &document.resource_type) {
            return Err(Flaw::OtherType.into());
        }
        let same_id = says(shape.id, &document.id);
        if !is_selected(document, selection, &out[start..])? {
            return Ok(Appended::LeftOut);
        }
        if !document.is_meta_set {
            meta::set_in_proved(out, start, shape.meta, document)?;
        }
        out.push(b'\n');
        return Ok(with_id(same_id));
    }
    let text = out.split_off(start);
    let text = str::from_utf8(&text).map_err(|_| Flaw::NotUtf8)?;
    Ok(append_changed(document, selection, trimmed(text), out)?)
}

/// Decided on the text as it stands: `_elements` may leave out what decides.
fn is_selected(document: &Document, selection: &Selection, text: &[u8]) -> Result<bool, Flaw> {
    if !selection.is_about(&document.resource_type) {
        return Ok(true);
    }
    let text = str::from_utf8(text).map_err(|_| Flaw::NotUtf8)?;
    selection.holds(document, text).map_err(|NotJson| Flaw::NotJson)
}

/// Appends the line of a text that is not the line as it stands, or may not be.
fn append_changed(document: &Document, selection: &Selection, text: &str, out: &mut Vec<u8>) -> Result<Appended, Flaw> {
    let shape: Shape = object(text)?;
    if !shape.resource_type.says(&document.resource_type) {
        return Err(Flaw::OtherType);
    }
    // What is left of a deleted resource tells nothing that a search could find.
    if !document.is_deleted && !is_selected(document, selection, text.as_bytes())? {
        return Ok(Appended::LeftOut);
    }
    let whole = match document.is_meta_set {
        true => Cow::Borrowed(text),
        false => {
            let mut whole = text.as_bytes().to_vec();
            meta::set(&mut whole, 0, shape.meta.0.map(|meta| span(text, meta).start), document)?;
            Cow::Owned(String::from_utf8(whole).map_err(|_| Flaw::NotUtf8)?)
        }
    };
    let whole = if document.is_deleted { Cow::Owned(marked(&whole)?) } else { whole };
    match &selection.elements {
        None => append_without_breaks(&whole, out),
        Some(elements) => {
            append_without_breaks(&elements.reduce(&document.resource_type, &whole).ok_or(Flaw::NotJson)?, out);
        }
    }
    out.push(b'\n');
    Ok(with_id(shape.id.says(&document.id)))
}

/// What Microsoft's server marks a tombstone with, and knows again when it imports one (PV-07).
const SOFT_DELETED: &str =
    r#"{"url":"http://azurehealthcareapis.com/data-extensions/deleted-state","valueString":"soft-deleted"}"#;

/// The text of a tombstone with its mark in front of everything else in `meta`.
fn marked(text: &str) -> Result<String, Flaw> {
    let shape: Shape = object(text)?;
    let mark = format!("\"extension\":[{SOFT_DELETED}]");
    let change = match shape.meta.0 {
        None => (text.len() - 1..text.len() - 1, format!(",\"meta\":{{{mark}}}")),
        Some(meta @ "null") => (span(text, meta), format!("{{{mark}}}")),
        Some(meta) => match object::<Extended>(meta)?.extension.0 {
            None => in_front(text, meta, mark),
            Some(null @ "null") => (span(text, null), format!("[{SOFT_DELETED}]")),
            Some(list) if list.starts_with('[') => in_front(text, list, SOFT_DELETED.to_owned()),
            Some(_) => return Err(Flaw::NotJson),
        },
    };
    Ok(splice(text, &change))
}

#[derive(Deserialize)]
struct Extended<'a> {
    #[serde(default, borrow)]
    extension: Present<'a>,
}

/// Puts something in front of what is in an object or a list, of which this is the text.
fn in_front(text: &str, container: &str, new: String) -> (Range<usize>, String) {
    let within = span(text, container).start + 1;
    let is_empty = container[1..container.len() - 1].trim_ascii().is_empty();
    (within..within, if is_empty { new } else { new + "," })
}

/// Copies the text without line breaks. Within JSON a raw line break can only stand between tokens, never in a string:
/// the text has been parsed by then.
fn append_without_breaks(text: &str, out: &mut Vec<u8>) {
    for part in text.split(['\n', '\r']) {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The members of a resource's text that decide about its line, as raw text; the rest is checked to be JSON and passed
/// over. A repeated one of these members is an error.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "resourceType", default, borrow)]
    resource_type: Present<'a>,
    #[serde(default, borrow)]
    id: Present<'a>,
    #[serde(default, borrow)]
    meta: Present<'a>,
}

/// The raw text of a member, also when it is `null`; `None` only when the member is absent.
#[derive(Default)]
pub(super) struct Present<'a>(pub(super) Option<&'a str>);

impl<'de: 'a, 'a> Deserialize<'de> for Present<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Present(Some(raw.get())))
    }
}

impl Present<'_> {
    /// Whether the member is the string `expected`.
    fn says(&self, expected: &str) -> bool {
        let Some(raw) = self.0 else { return false };
        let plain = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        // Only a string with escapes needs to be decoded before it can be compared.
        plain == Some(expected)
            || (raw.contains('\\') && serde_json::from_str::<String>(raw).is_ok_and(|s| s == expected))
    }
}

/// Parses the members of an object; serde would take an array for a struct as well.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Flaw> {
    if !text.starts_with('{') {
        return Err(Flaw::NotJson);
    }
    serde_json::from_str(text).map_err(|_| Flaw::NotJson)
}

/// Where `part`, a slice of `text`, lies in it.
pub(super) fn span(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// `text` with a range replaced.
fn splice(text: &str, (range, replacement): &(Range<usize>, String)) -> String {
    [&text[..range.start], replacement, &text[range.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(data: &str) -> Document {
        Document {
            resource_type: "Patient".into(),
            id: "p1".into(),
            version: Some("3".into()),
            last_modified: "2025-03-02T09:15:42.1180000+00:00".into(),
            data: Some(data.to_owned().into()),
            ..Document::default()
        }
    }

    fn line(document: &Document) -> Result<String, Flaw> {
        let mut out = b"before\n".to_vec();
        let result = append(document, &Selection::default(), &mut out);
        let out = String::from_utf8(out).unwrap();
        let line = out.strip_prefix("before\n").unwrap().to_owned();
        match result {
            Ok(_) => Ok(line.strip_suffix('\n').unwrap().to_owned()),
            Err(unwritten) => {
                assert_eq!(line, "", "a document that fails leaves nothing behind");
                match unwritten {
                    Unwritten::Flawed(flaw) => Err(flaw),
                    Unwritten::Garbled => panic!("garbled"),
                }
            }
        }
    }

    #[test]
    fn with_its_meta_set_the_text_is_copied() {
        let text = r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"1"},"x":1.00,"y":123456789012345678.90,"s":"\u00e9é😀\u2028"}"#;
        let document = Document { is_meta_set: true, ..document(text) };
        assert_eq!(line(&document).unwrap(), text);
    }

    #[test]
    fn otherwise_meta_comes_from_the_wrapper() {
        let updated = r#""lastUpdated":"2025-03-02T09:15:42.118+00:00""#;
        let version = r#""versionId":"3""#;
        for (meta, expected) in [
            ("", format!(r#","x":1,"meta":{{{updated},{version}}}}}"#)),
            (r#","meta":null"#, format!(r#","meta":{{{updated},{version}}},"x":1}}"#)),
            (r#","meta":{}"#, format!(r#","meta":{{{updated},{version}}},"x":1}}"#)),
            (r#","meta":{ }"#, format!(r#","meta":{{ {updated},{version}}},"x":1}}"#)),
            (r#","meta":{"tag":[{}]}"#, format!(r#","meta":{{"tag":[{{}}],{updated},{version}}},"x":1}}"#)),
            (r#","meta":{"versionId":"1"}"#, format!(r#","meta":{{{version},{updated}}},"x":1}}"#)),
            (
                r#","meta":{"versionId":"1","lastUpdated":"old","tag":[]}"#,
                format!(r#","meta":{{{version},{updated},"tag":[]}},"x":1}}"#),
            ),
        ] {
            let head = r#"{"resourceType":"Patient","id":"p1""#;
            let text = format!(r#"{head}{meta},"x":1}}"#);
            assert_eq!(line(&document(&text)).unwrap(), format!("{head}{expected}"), "{meta}");
        }
    }

    #[test]
    fn a_meta_deeper_inside_is_not_the_resources_meta() {
        let text = r#"{"contained":[{"meta":{"versionId":"9"}}],"resourceType":"Patient","id":"p1"}"#;
        let expected = text.strip_suffix('}').unwrap().to_owned()
            + r#","meta":{"lastUpdated":"2025-03-02T09:15:42.118+00:00","versionId":"3"}}"#;
        assert_eq!(line(&document(text)).unwrap(), expected);
    }

    #[test]
    fn the_oldest_documents_have_their_etag_for_a_version() {
        let text = r#"{"resourceType":"Patient","id":"p1"}"#;
        let old = Document { version: None, etag: Some("\"0a-1\"".into()), ..document(text) };
        assert!(line(&old).unwrap().ends_with(r#""versionId":"0a-1"}}"#));
        assert_eq!(line(&Document { version: None, ..document(text) }), Err(Flaw::NoMeta));
    }

    #[test]
    fn line_breaks_between_tokens_go_and_those_in_strings_stay_escaped() {
        let text = "\u{feff}{\r\n  \"resourceType\": \"Patient\",\n  \"id\": \"p1\",\n \"note\": \"a\\nb\"\r\n}\n";
        let document = Document { is_meta_set: true, ..document(text) };
        assert_eq!(line(&document).unwrap(), r#"{  "resourceType": "Patient",  "id": "p1", "note": "a\nb"}"#);
    }

    #[test]
    fn what_is_no_resource_goes_to_the_error_file() {
        for (text, flaw) in [
            ("", Flaw::NotJson),
            ("not json", Flaw::NotJson),
            (r#"["Patient","p1",{}]"#, Flaw::NotJson),
            (r#"{"resourceType":"Patient","id":"p1""#, Flaw::NotJson),
            (r#"{"resourceType":"Patient","id":"p1"}{}"#, Flaw::NotJson),
            ("{\"resourceType\":\"Patient\",\"id\":\"p1\",\"s\":\"raw\nbreak\"}", Flaw::NotJson),
            (r#"{"resourceType":"Patient","resourceType":"Patient","id":"p1"}"#, Flaw::NotJson),
            (r#"{"id":"p1"}"#, Flaw::OtherType),
            (r#"{"resourceType":"Observation","id":"p1"}"#, Flaw::OtherType),
            (r#"{"resourceType":7,"id":"p1"}"#, Flaw::OtherType),
            (r#"{"resourceType":"Patient","id":"p1","meta":[1]}"#, Flaw::NotJson),
        ] {
            assert_eq!(line(&document(text)), Err(flaw), "{text}");
        }
        let surrogate = Document {
            data: Some(b"{\"resourceType\":\"Patient\",\"s\":\"\xED\xA0\x80\"}".to_vec().into()),
            ..document("")
        };
        assert_eq!(line(&surrogate), Err(Flaw::NotUtf8));
        assert_eq!(line(&Document { data: None, ..document("") }), Err(Flaw::NoText));
        assert_eq!(line(&Document { format: Some("Xml".into()), ..document("<x/>") }), Err(Flaw::NotJsonFormat));
    }

    #[test]
    fn another_id_is_exported_and_told() {
        let mut out = Vec::new();
        let document = Document { is_meta_set: true, ..document(r#"{"resourceType":"Patient","id":"p2"}"#) };
        assert_eq!(append(&document, &Selection::default(), &mut out), Ok(Appended::Flawed(Flaw::OtherId)));
        let told: serde_json::Value = serde_json::from_slice(&Flaw::OtherId.note(&document).line()).unwrap();
        assert_eq!(told["issue"][0]["severity"], "warning");
        assert_eq!(told["issue"][0]["expression"][0], "Patient/p1");
    }

    #[test]
    fn a_tombstone_is_the_stored_text_with_a_mark() {
        let mark = format!(r#""extension":[{SOFT_DELETED}]"#);
        let head = r#"{"resourceType":"Patient","id":"p1""#;
        let of_wrapper = r#""lastUpdated":"2025-03-02T09:15:42.118+00:00","versionId":"3""#;
        for (set, rest, expected) in [
            (
                true,
                r#","meta":{"lastUpdated":"x","versionId":"3"}}"#,
                format!(r#","meta":{{{mark},"lastUpdated":"x","versionId":"3"}}}}"#),
            ),
            (false, "}", format!(r#","meta":{{{mark},{of_wrapper}}}}}"#)),
            (true, "}", format!(r#","meta":{{{mark}}}}}"#)),
            (true, r#","meta":null}"#, format!(r#","meta":{{{mark}}}}}"#)),
            (true, r#","meta":{ }}"#, format!(r#","meta":{{{mark} }}}}"#)),
            (true, r#","meta":{"extension":null}}"#, format!(r#","meta":{{{mark}}}}}"#)),
            (true, r#","meta":{"extension":[]}}"#, format!(r#","meta":{{{mark}}}}}"#)),
            (
                true,
                r#","meta":{"extension":[{"url":"u"}]}}"#,
                format!(r#","meta":{{"extension":[{SOFT_DELETED},{{"url":"u"}}]}}}}"#),
            ),
        ] {
            let tombstone = Document { is_deleted: true, is_meta_set: set, ..document(&format!("{head}{rest}")) };
            assert_eq!(line(&tombstone).unwrap(), format!("{head}{expected}"), "{rest}");
        }
        let odd = Document {
            is_deleted: true,
            is_meta_set: true,
            ..document(&format!(r#"{head},"meta":{{"extension":7}}}}"#))
        };
        assert_eq!(line(&odd), Err(Flaw::NotJson));
    }

    #[test]
    fn an_escaped_name_is_the_same_name() {
        let document = document(r#"{"resourceType":"Pati\u0065nt","id":"p\u0031"}"#);
        assert_eq!(append(&document, &Selection::default(), &mut Vec::new()), Ok(Appended::Line));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map("[a-zA-Z]{1,12}", inner, 0..6).prop_map(|m| m.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn only_meta_changes_and_only_when_it_is_not_set(mut value in json(), meta in json(), set: bool, pretty: bool) {
            if !value.is_object() {
                value = serde_json::json!({ "value": value });
            }
            value["resourceType"] = "Patient".into();
            value["id"] = "p1".into();
            value.as_object_mut().unwrap().remove("meta");
            if meta.is_object() {
                value["meta"] = meta;
            }
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let line = line(&Document { is_meta_set: set, ..document(&text) }).unwrap();
            prop_assert!(!line.contains(['\n', '\r']));
            if !set {
                if !value["meta"].is_object() {
                    value["meta"] = serde_json::json!({});
                }
                value["meta"]["versionId"] = "3".into();
                value["meta"]["lastUpdated"] = "2025-03-02T09:15:42.118+00:00".into();
            }
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }
}
