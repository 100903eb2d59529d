//! Cuts the answer to a query into documents whose texts are slices of it: nothing is copied, and no value is made.
//!
//! The answer is JSON, as text or as the service's binary JSON (`binary`), and read as JSON: one that breaks off or is damaged is
//! no page. Strings are not looked into beyond their end. A row in which a field is not what the server writes is read by itself,
//! slower.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use azure_data_cosmos_driver::ResponseBody;
use azure_data_cosmos_driver::binary_json::is_binary;
use bytes::Bytes;
use bytestring::ByteString;
use memchr::memchr;
use serde::de::{DeserializeOwned, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::bulk::data::Data;
use crate::bulk::document::Document;
use crate::bulk::marks::string_end;

mod binary;

/// The rows of an answer. `None` if it is not what it should be.
pub fn documents(body: &ResponseBody) -> Option<Vec<Document>> {
    match body {
        ResponseBody::NoPayload => None,
        ResponseBody::Bytes(page) if is_binary(page) => binary::documents(page),
        ResponseBody::Bytes(page) => page_documents(page),
        ResponseBody::Items(rows) => rows.iter().map(|row| whole(row, Reader::document)).collect(),
    }
}

/// Why an answer has no rows.
pub fn flaw(body: &ResponseBody) -> &'static str {
    match body {
        ResponseBody::NoPayload => "it is empty",
        ResponseBody::Bytes(page) if is_binary(page) => "it is not the binary JSON that it should be",
        ResponseBody::Bytes(_) | ResponseBody::Items(_) => "it is not the JSON that it should be",
    }
}

/// `{"_rid":…,"Documents":[…],"_count":…}`.
fn page_documents(page: &Bytes) -> Option<Vec<Document>> {
    let (mut documents, mut count) = (None, None);
    whole(page, |reader| {
        reader.object(|reader, name| {
            match name {
                b"Documents" if documents.is_none() => documents = Some(reader.documents()?),
                b"Documents" => return None,
                b"_count" => count = Some(reader.value::<usize>()?),
                _ => drop(reader.value::<IgnoredAny>()?),
            }
            Some(())
        })
    })?;
    documents.filter(|documents| count.is_none_or(|count| count == documents.len()))
}

/// Most documents have less than four KB, and most pages are full: few vectors grow more than once.
fn room_for_documents(page: &[u8]) -> Vec<Document> {
    Vec::with_capacity(page.len() / 4096)
}

/// What a reader finds in a text, if that is all there is in it.
fn whole<'p, T>(page: &'p Bytes, read: impl FnOnce(&mut Reader<'p>) -> Option<T>) -> Option<T> {
    let mut reader = Reader { page, at: 0 };
    let found = read(&mut reader)?;
    reader.skip_spaces();
    (reader.at == page.len()).then_some(found)
}

/// What reads the fields of a row, in whichever form a page has them.
trait Fields: Sized {
    /// Whether `null` comes next; then it is behind us.
    fn is_null(&mut self) -> bool;

    fn text(&mut self) -> Option<ByteString>;

    fn flag(&mut self) -> Option<bool>;

    fn data(&mut self) -> Option<Data>;

    /// An object, member by member.
    fn object(&mut self, member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()>;

    /// A field of a row as the server writes it, but for its tag.
    fn field(&mut self, name: &[u8], row: &mut Document) -> Option<()> {
        match name {
            b"resourceTypeName" => row.resource_type = self.text()?,
            b"resourceId" => row.id = self.text()?,
            b"version" => row.version = self.unless_null(Self::text)?,
            b"lastModified" => row.last_modified = self.text()?,
            b"isDeleted" => row.is_deleted = self.flag()?,
            b"rawResource" => self.object(|reader, name| reader.field_of_raw_resource(name, row))?,
            _ => return None,
        }
        Some(())
    }

    fn field_of_raw_resource(&mut self, name: &[u8], row: &mut Document) -> Option<()> {
        match name {
            b"data" => row.data = self.unless_null(Self::data)?,
            b"format" => row.format = self.unless_null(Self::text)?,
            b"isMetaSet" => row.is_meta_set = self.flag()?,
            _ => return None,
        }
        Some(())
    }

    fn unless_null<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.is_null() { Some(None) } else { read(self).map(Some) }
    }
}

struct Reader<'p> {
    page: &'p Bytes,
    at: usize,
}

impl<'p> Reader<'p> {
    fn skip_spaces(&mut self) {
        while matches!(self.page.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Whether this comes next; then it is behind us.
    fn has(&mut self, expected: &[u8]) -> bool {
        self.skip_spaces();
        let has = self.page[self.at..].starts_with(expected);
        self.at += if has { expected.len() } else { 0 };
        has
    }

    fn expect(&mut self, expected: &[u8]) -> Option<()> {
        self.has(expected).then_some(())
    }

    fn documents(&mut self) -> Option<Vec<Document>> {
        let mut documents = room_for_documents(self.page);
        self.expect(b"[")?;
        if self.has(b"]") {
            return Some(documents);
        }
        loop {
            documents.push(self.document()?);
            if !self.has(b",") {
                self.expect(b"]")?;
                return Some(documents);
            }
        }
    }

    fn document(&mut self) -> Option<Document> {
        let from = self.at;
        self.plain_row().or_else(|| {
            self.at = from;
            self.value::<OddRow>().map(Document::from)
        })
    }

    /// A row as the server writes it.
    fn plain_row(&mut self) -> Option<Document> {
        let mut row = Document::default();
        let mut etag = None;
        self.object(|reader, name| {
            match name {
                b"_etag" => etag = Some(reader.string()?),
                _ => reader.field(name, &mut row)?,
            }
            Some(())
        })?;
        if let (None, Some(etag)) = (&row.version, etag) {
            row.etag = Some(self.unescaped(etag)?);
        }
        Some(row)
    }

    fn unescaped(&self, content: Range<usize>) -> Option<ByteString> {
        match memchr(b'\\', &self.page[content.clone()]) {
            // With the quotes around it.
            Some(_) => {
                serde_json::from_slice::<String>(&self.page[content.start - 1..content.end + 1]).ok().map(Into::into)
            }
            None => self.page.slice(content).try_into().ok(),
        }
    }

    /// Where the content of a string stands.
    fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b"\"")?;
        let end = string_end(self.page, self.at)?;
        let content = self.at..end;
        self.at = end + 1;
        Some(content)
    }

    /// Any value, by serde_json.
    fn value<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_slice(&self.page[self.at..]).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }
}

impl Fields for Reader<'_> {
    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.expect(b"{")?;
        if self.has(b"}") {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.expect(b":")?;
            member(self, &self.page[name])?;
            if !self.has(b",") {
                return self.expect(b"}");
            }
        }
    }

    fn is_null(&mut self) -> bool {
        self.has(b"null")
    }

    fn data(&mut self) -> Option<Data> {
        let content = self.string()?;
        Some(Data::Escaped(self.page.slice(content)))
    }

    fn flag(&mut self) -> Option<bool> {
        let flag = self.has(b"true");
        (flag || self.has(b"false")).then_some(flag)
    }

    fn text(&mut self) -> Option<ByteString> {
        let content = self.string()?;
        self.unescaped(content)
    }
}

/// A row in which a field is not what it should be: read member by member, so that it costs only itself and not the
/// page.
#[derive(Deserialize)]
pub struct OddRow(HashMap<String, Box<RawValue>>);

impl From<OddRow> for Document {
    fn from(OddRow(row): OddRow) -> Self {
        let text = |name: &str| row.get(name).and_then(|raw| Text::of(raw)).and_then(|text| text.string());
        let raw = row.get("rawResource").and_then(|raw| serde_json::from_str::<OddRow>(raw.get()).ok());
        let raw = raw.map(|OddRow(members)| members).unwrap_or_default();
        let version = text("version");
        Document {
            resource_type: text("resourceTypeName").unwrap_or_default(),
            id: text("resourceId").unwrap_or_default(),
            etag: if version.is_some() { None } else { text("_etag") },
            version,
            last_modified: text("lastModified").unwrap_or_default(),
            is_deleted: row.get("isDeleted").is_some_and(|raw| raw.get() == "true"),
            is_meta_set: raw.get("isMetaSet").is_some_and(|raw| raw.get() == "true"),
            format: raw.get("format").and_then(|raw| Text::of(raw)).and_then(Text::string),
            data: raw.get("data").and_then(|raw| Text::of(raw)).map(|text| text.0.into()),
        }
    }
}

/// A JSON string as bytes: half of a surrogate pair in it is kept as bytes that are no UTF-8, where a `String` of it
/// could not be made.
struct Text(Vec<u8>);

impl Text {
    fn of(raw: &RawValue) -> Option<Self> {
        raw.get().starts_with('"').then(|| serde_json::from_str(raw.get()).ok()).flatten()
    }

    fn string(self) -> Option<ByteString> {
        self.0.try_into().ok()
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(bytes.to_vec()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.as_bytes().to_vec()))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text(text.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use azure_data_cosmos_driver::binary_json;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const ROW: &str = r#"{"resourceTypeName":"Patient","resourceId":"p1","version":"2","_etag":"\"e\"",
        "lastModified":"2025-01-01T00:00:00.0000000+00:00",
        "rawResource":{"data":"{\"resourceType\":\"Patient\"}","format":"Json","isMetaSet":true}}"#;

    fn page(rows: &[&str]) -> String {
        format!(r#"{{"_rid":"abc=","Documents":[{}],"_count":{}}}"#, rows.join(","), rows.len())
    }

    fn read(page: &str) -> Option<Vec<Document>> {
        documents(&ResponseBody::Bytes(Bytes::copy_from_slice(page.as_bytes())))
    }

    fn plain(json: &str) -> Option<Document> {
        whole(&Bytes::copy_from_slice(json.as_bytes()), Reader::plain_row)
    }

    fn odd(json: &str) -> Document {
        serde_json::from_str::<OddRow>(json).unwrap().into()
    }

    /// With the text itself, however it was held.
    fn with_text(document: Document) -> (Document, Option<Result<Vec<u8>, crate::bulk::data::Unwritable>>) {
        let text = document.data.as_ref().map(|data| {
            let mut text = Vec::new();
            data.append_to(&mut text).map(|()| text)
        });
        (Document { data: None, ..document }, text)
    }

    #[test]
    fn a_plain_row_is_read_the_same_both_ways() {
        for (from, to) in [
            ("", ""),
            (r#""version":"2","#, ""),
            (r#""version":"2""#, r#""version":null"#),
            (r#""resourceId":"p1""#, r#""resourceId":"p\u0031""#),
            (r#"{\"resource"#, r#"\ud83d{\"resource"#),
            (r#""data":"{\"resourceType\":\"Patient\"}""#, r#""data":null"#),
            (r#","format":"Json""#, r#","format":null"#),
            (r#","lastModified""#, r#","isDeleted":true,"lastModified""#),
        ] {
            let row = ROW.replacen(from, to, 1);
            let found = with_text(plain(&row).unwrap_or_else(|| panic!("{row}")));
            assert_eq!(found, with_text(odd(&row)), "{row}");
        }
        let (document, text) = with_text(plain(ROW).unwrap());
        assert_eq!(text.unwrap().unwrap(), br#"{"resourceType":"Patient"}"#);
        assert!(document.is_meta_set && document.etag.is_none());
        let first_years = plain(&ROW.replace(r#""version":"2","#, "")).unwrap();
        assert_eq!(first_years.shown_version(), Some("e"));
    }

    #[test]
    fn an_odd_row_costs_only_itself() {
        for (from, to) in [
            (r#""version":"2""#, r#""version":2"#),
            (r#""resourceId":"p1""#, r#""resourceId":"\ud800""#),
            (r#""isMetaSet":true"#, r#""isMetaSet":"yes""#),
            (r#""data":"{\"resourceType\":\"Patient\"}""#, r#""data":{"resourceType":"Patient"}"#),
            (r#""version":"2""#, r#""more":[{"version":"2"}]"#),
        ] {
            let row = ROW.replace(from, to);
            assert_ne!(row, ROW);
            assert_eq!(plain(&row), None, "{to}");
            let found = read(&page(&[ROW, &row, ROW])).unwrap();
            assert_eq!(found[1], odd(&row));
            assert_eq!(found[1].resource_type, "Patient");
            assert_eq!((&found[0], &found[2]), (&plain(ROW).unwrap(), &plain(ROW).unwrap()));
        }
        assert_eq!(odd(r#"{"resourceTypeName":7,"rawResource":null}"#), Document::default());
    }

    #[test]
    fn an_answer_that_is_no_page_is_none() {
        for bad in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"Documents":[],"Documents":[]}"#,
            r#"{"Documents":[],"_count":1}"#,
            r#"{"Documents":[]} x"#,
            r#"{"Documents":[],}"#,
            r#"{"Documents":[1]}"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(r#" { "Documents" : [ ] } "#), Some(Vec::new()));
        assert_eq!(read(&page(&[ROW, ROW]).replace(r#""_count":2"#, r#""_count":3"#)), None);
        assert_eq!(documents(&ResponseBody::NoPayload), None);
        let binary = ResponseBody::Bytes(Bytes::from_static(b"\x80\xEA\x10"));
        assert_eq!((documents(&binary), flaw(&binary)), (None, "it is not the binary JSON that it should be"));
        let items = ResponseBody::Items(vec![Bytes::from_static(ROW.as_bytes())]);
        assert_eq!(documents(&items), Some(vec![plain(ROW).unwrap()]));
    }

    #[test]
    fn a_page_that_breaks_off_anywhere_is_none() {
        let page = page(&[ROW, ROW]);
        for end in 0..page.len() {
            assert_eq!(read(&page[..end]), None, "{end}");
        }
        assert_eq!(read(&page).unwrap().len(), 2);
    }

    #[test]
    fn bytes_that_are_no_utf8_cost_only_their_document() {
        let page = page(&[ROW, ROW]).into_bytes();
        let at = page.windows(9).position(|bytes| bytes == b"\"Patient\\").unwrap();
        let mut page = page;
        page[at + 1] = 0xFF;
        let found = documents(&ResponseBody::Bytes(page.into())).unwrap_or_default();
        assert_eq!(found.len(), 2);
    }

    fn row() -> impl Strategy<Value = Value> {
        let text =
            prop_oneof![any::<String>().prop_map(Value::from), Just(Value::Null), Just(json!(1)), Just(json!([{}]))];
        (prop::collection::vec(text, 6), any::<bool>()).prop_map(|(texts, set)| {
            let [resource_type, id, version, etag, data, format] = &texts[..] else { unreachable!("there are six") };
            json!({
                "resourceTypeName": resource_type, "resourceId": id, "version": version, "_etag": etag,
                "lastModified": "2025-01-01T00:00:00.0000000+00:00",
                "rawResource": { "data": data, "format": format, "isMetaSet": set },
            })
        })
    }

    proptest! {
        #[test]
        fn every_row_comes_once_as_serde_json_reads_it(rows in prop::collection::vec(row(), 0..6), pretty: bool) {
            let page = json!({ "_rid": "r", "Documents": rows, "_count": rows.len() });
            let text = if pretty { serde_json::to_string_pretty(&page).unwrap() } else { page.to_string() };
            let found: Vec<_> = read(&text).unwrap().into_iter().map(with_text).collect();
            let expected: Vec<_> = rows.iter().map(|row| with_text(odd(&row.to_string()))).collect();
            prop_assert_eq!(&found, &expected);
            let binary = documents(&ResponseBody::Bytes(binary_json::encode(&page).into())).unwrap();
            prop_assert_eq!(binary.into_iter().map(with_text).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn a_damaged_page_loses_no_row_silently(rows in prop::collection::vec(row(), 1..4), at: prop::sample::Index, byte: u8) {
            let page = json!({ "_rid": "r", "Documents": rows, "_count": rows.len() }).to_string();
            let mut damaged = page.clone().into_bytes();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            // Either the page is refused, or it has every row.
            if let Some(found) = documents(&ResponseBody::Bytes(damaged.into())) {
                prop_assert_eq!(found.len(), rows.len());
            }
        }
    }
}
