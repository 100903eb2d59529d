//! The same of a page in the service's binary JSON, in which a text needs no unescaping.
//!
//! Read here are the forms that rows have: strings of every kind, `true`, `false`, `null`, arrays and objects. A page with
//! anything else in it is read by the driver, as values. What the bytes mean is in the driver's `binary_json`, against which the
//! tests hold this.

use std::ops::Range;

use azure_data_cosmos_driver::binary_json::{self, PREAMBLE, markers, system_strings};
use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;

use crate::bulk::data::Data;
use crate::bulk::document::Document;

use super::{Fields, OddRow, room_for_documents};

/// `{"_rid":…,"Documents":[…],"_count":…}`. `None` if it is not what it should be.
pub fn documents(page: &Bytes) -> Option<Vec<Document>> {
    let (documents, count) = plain_page(page).or_else(|| by_driver(page))?;
    count.is_none_or(|count| count == documents.len()).then_some(documents)
}

type Rows = (Vec<Document>, Option<usize>);

fn plain_page(page: &Bytes) -> Option<Rows> {
    let mut reader = Reader { page, at: 1 };
    let (mut documents, mut count) = (None, None);
    reader.object(|reader, name| {
        match name {
            b"Documents" if documents.is_none() => documents = Some(reader.documents()?),
            b"_count" => count = Some(reader.number()?),
            b"_rid" => drop(reader.string()?),
            _ => return None,
        }
        Some(())
    })?;
    (reader.at == page.len()).then_some((documents?, count))
}

fn by_driver(page: &Bytes) -> Option<Rows> {
    #[derive(Deserialize)]
    struct OddPage {
        #[serde(rename = "Documents")]
        documents: Vec<OddRow>,
        #[serde(rename = "_count", default)]
        count: Option<usize>,
    }
    let OddPage { documents, count } = binary_json::from_slice(page).ok()?;
    Some((documents.into_iter().map(Into::into).collect(), count))
}

/// A string as it stands in the page.
enum Content {
    /// One of those that every page knows.
    Known(&'static str),
    /// Here it stands.
    Plain(Range<usize>),
    /// So many characters, in 7 bits each.
    Packed(Range<usize>, usize),
    /// In a form for ids and times.
    Short(String),
}

struct Reader<'p> {
    page: &'p Bytes,
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.page.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn has(&mut self, marker: u8) -> bool {
        let has = self.page.get(self.at) == Some(&marker);
        self.at += usize::from(has);
        has
    }

    /// A length or a number, with the least significant byte first.
    fn unsigned(&mut self, bytes: usize) -> Option<usize> {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(self.page.get(self.at..self.at + bytes)?);
        self.at += bytes;
        usize::try_from(u64::from_le_bytes(number)).ok()
    }

    /// The items of an array or the members of an object, whose markers begin with this one: empty, a single one, and then lengths
    /// of 1, 2 and 4 bytes, without a count and with it.
    fn each(&mut self, empty: u8, mut by: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let (width, has_count) = match self.byte()?.checked_sub(empty)? {
            0 => return Some(()),
            1 => return by(self),
            form @ 2..=4 => (1 << (form - 2), false),
            form @ 5..=7 => (1 << (form - 5), true),
            _ => return None,
        };
        let length = self.unsigned(width)?;
        let expected = if has_count { Some(self.unsigned(width)?) } else { None };
        let (end, mut count) = (self.at.checked_add(length)?, 0);
        while self.at < end {
            by(self)?;
            count += 1;
        }
        (self.at == end && expected.is_none_or(|expected| expected == count)).then_some(())
    }

    fn documents(&mut self) -> Option<Vec<Document>> {
        let mut documents = room_for_documents(self.page);
        self.each(markers::ARR0, |reader| {
            documents.push(reader.row()?);
            Some(())
        })?;
        Some(documents)
    }

    /// A row as the server writes it.
    fn row(&mut self) -> Option<Document> {
        let mut row = Document::default();
        self.object(|reader, name| {
            match name {
                b"_etag" => row.etag = Some(reader.text()?),
                _ => reader.field(name, &mut row)?,
            }
            Some(())
        })?;
        if row.version.is_some() {
            row.etag = None;
        }
        Some(row)
    }

    fn unpacked(&self, bytes: Range<usize>, length: usize) -> Option<String> {
        let mut text = Vec::new();
        Data::Packed(self.page.slice(bytes), length).append_to(&mut text).ok()?;
        String::from_utf8(text).ok()
    }

    /// A whole number that is not negative.
    fn number(&mut self) -> Option<usize> {
        match self.byte()? {
            small @ markers::LITERAL_INT_MIN..markers::LITERAL_INT_MAX => Some(small.into()),
            markers::NUMBER_UINT8 | markers::UINT8 => self.unsigned(1),
            markers::NUMBER_INT16 | markers::INT16 => self.unsigned(2),
            markers::NUMBER_INT32 | markers::INT32 | markers::UINT32 => self.unsigned(4),
            markers::NUMBER_INT64 | markers::INT64 | markers::NUMBER_UINT64 => self.unsigned(8),
            _ => None,
        }
    }

    /// A string, or the place where the same one stood before.
    fn string(&mut self) -> Option<Content> {
        let marker = *self.page.get(self.at)?;
        let markers::STR_R1..=markers::STR_R4 = marker else { return self.own_string() };
        self.at += 1;
        let place = self.unsigned(usize::from(marker - markers::STR_R1) + 1)?;
        Reader { page: self.page, at: place }.own_string()
    }

    fn own_string(&mut self) -> Option<Content> {
        let start = self.at;
        let marker = self.byte()?;
        match marker {
            markers::SYSTEM_STRING_1BYTE_MIN..markers::SYSTEM_STRING_1BYTE_MAX => {
                system_strings::system_string_for_marker(marker).map(Content::Known)
            }
            markers::ENCODED_STRING_LENGTH_MIN..markers::ENCODED_STRING_LENGTH_MAX => {
                self.bytes(usize::from(marker & markers::ENCODED_STRING_LENGTH_MASK)).map(Content::Plain)
            }
            markers::STR_L1 | markers::STR_L2 | markers::STR_L4 => {
                let length = self.unsigned(1 << (marker - markers::STR_L1))?;
                self.bytes(length).map(Content::Plain)
            }
            markers::PACKED_7BIT_STRING_LENGTH1 | markers::PACKED_7BIT_STRING_LENGTH2 => {
                let length = self.unsigned(1 + usize::from(marker - markers::PACKED_7BIT_STRING_LENGTH1))?;
                Some(Content::Packed(self.bytes((7 * length).div_ceil(8))?, length))
            }
            _ => {
                let length = self.length_of_short(marker)?;
                self.bytes(length)?;
                // By itself, it is a whole answer.
                let alone = [&[PREAMBLE], self.page.get(start..self.at)?].concat();
                binary_json::from_slice(&alone).ok().map(Content::Short)
            }
        }
    }

    /// Bytes behind the marker of a string, and of the lengths that are read here.
    fn length_of_short(&mut self, marker: u8) -> Option<usize> {
        let mut packed = |bits: usize| Some(1 + (bits * self.unsigned(1)?).div_ceil(8));
        match marker {
            markers::LOWERCASE_GUID_STRING
            | markers::UPPERCASE_GUID_STRING
            | markers::DOUBLE_QUOTED_LOWERCASE_GUID_STRING => Some(16),
            markers::COMPRESSED_LOWERCASE_HEX_STRING
            | markers::COMPRESSED_UPPERCASE_HEX_STRING
            | markers::COMPRESSED_DATE_TIME_STRING => Some(self.unsigned(1)?.div_ceil(2)),
            markers::PACKED_4BIT_STRING => packed(4),
            markers::PACKED_5BIT_STRING => packed(5),
            markers::PACKED_6BIT_STRING => packed(6),
            markers::BASE64_STRING_LENGTH1 | markers::BASE64_URL_STRING_LENGTH1 => self.length_of_base64(1),
            markers::BASE64_STRING_LENGTH2 | markers::BASE64_URL_STRING_LENGTH2 => self.length_of_base64(2),
            _ => None,
        }
    }

    /// Groups of four characters, and how much of the last is padding; or would be, where it is left out.
    fn length_of_base64(&mut self, width: usize) -> Option<usize> {
        let (groups, padding) = (self.unsigned(width)?, self.byte()?);
        let padding = if padding > 2 { !padding } else { padding };
        Some((4 * groups).checked_sub(padding.into())? * 3 / 4)
    }

    /// Where so many bytes stand, which are behind us then.
    fn bytes(&mut self, length: usize) -> Option<Range<usize>> {
        let range = self.at..self.at.checked_add(length)?;
        self.page.get(range.clone())?;
        self.at = range.end;
        Some(range)
    }
}

impl Fields for Reader<'_> {
    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.each(markers::OBJ0, |reader| match reader.string()? {
            Content::Known(name) => member(reader, name.as_bytes()),
            Content::Short(name) => member(reader, name.as_bytes()),
            Content::Plain(name) => {
                let page = reader.page;
                member(reader, page.get(name)?)
            }
            Content::Packed(bytes, length) => {
                let name = reader.unpacked(bytes, length)?;
                member(reader, name.as_bytes())
            }
        })
    }

    fn is_null(&mut self) -> bool {
        self.has(markers::NULL)
    }

    fn data(&mut self) -> Option<Data> {
        Some(match self.string()? {
            Content::Known(text) => Data::Plain(Bytes::from_static(text.as_bytes())),
            Content::Plain(text) => Data::Plain(self.page.slice(text)),
            Content::Packed(bytes, length) => Data::Packed(self.page.slice(bytes), length),
            Content::Short(text) => Data::Plain(text.into()),
        })
    }

    fn flag(&mut self) -> Option<bool> {
        let flag = self.has(markers::TRUE);
        (flag || self.has(markers::FALSE)).then_some(flag)
    }

    fn text(&mut self) -> Option<ByteString> {
        match self.string()? {
            Content::Known(text) => Some(text.into()),
            Content::Plain(text) => self.page.slice(text).try_into().ok(),
            Content::Short(text) => Some(text.into()),
            Content::Packed(bytes, length) => self.unpacked(bytes, length).map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(id: &str, data: &str) -> Value {
        json!({
            "resourceTypeName": "Patient", "resourceId": id, "version": "2", "_etag": "\"e\"",
            "lastModified": "2025-01-01T00:00:00.0000000+00:00",
            "rawResource": { "data": data, "format": "Json", "isMetaSet": true },
        })
    }

    fn page(rows: &[Value]) -> Bytes {
        binary_json::encode(&json!({ "_rid": "abc=", "Documents": rows, "_count": rows.len() })).into()
    }

    /// A row and a page in other forms than the driver writes.
    fn object(members: &[(&[u8], &[u8])]) -> Vec<u8> {
        let content: Vec<u8> = members.iter().flat_map(|(name, value)| [*name, *value].concat()).collect();
        [&[markers::OBJ_L4][..], &(content.len() as u32).to_le_bytes(), &content].concat()
    }

    fn plain(text: &str) -> Vec<u8> {
        [&[markers::STR_L2][..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut bits = vec![0u8; (7 * text.len()).div_ceil(8)];
        for (nth, byte) in text.bytes().enumerate() {
            (0..7).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| {
                let at = 7 * nth + bit;
                bits[at / 8] |= 1 << (at % 8);
            });
        }
        match u8::try_from(text.len()) {
            Ok(length) => [&[markers::PACKED_7BIT_STRING_LENGTH1, length][..], &bits].concat(),
            Err(_) => {
                let length = (text.len() as u16).to_le_bytes();
                [&[markers::PACKED_7BIT_STRING_LENGTH2][..], &length, &bits].concat()
            }
        }
    }

    fn page_of(rows: &[Vec<u8>], count: &[u8]) -> Bytes {
        let rows = rows.concat();
        let rows = [&[markers::ARR_L4][..], &(rows.len() as u32).to_le_bytes(), &rows].concat();
        let rid = [markers::SYSTEM_STRING_1BYTE_MIN + 5];
        let page = object(&[(&rid, &plain("abc=")), (&plain("Documents"), &rows), (&packed("_count"), count)]);
        [&[PREAMBLE][..], &page].concat().into()
    }

    /// With the text itself, however it was held.
    fn read(rows: Option<Rows>) -> Vec<(Document, Vec<u8>)> {
        let texts = rows.unwrap().0.into_iter().map(|document| {
            let mut text = Vec::new();
            document.data.as_ref().unwrap().append_to(&mut text).unwrap();
            (Document { data: None, ..document }, text)
        });
        texts.collect()
    }

    #[test]
    fn strings_in_any_form_are_what_the_driver_makes_of_them() {
        let guid = [&[markers::LOWERCASE_GUID_STRING][..], &(0..16).map(|n| n * 15).collect::<Vec<u8>>()].concat();
        let etag = [&[markers::DOUBLE_QUOTED_LOWERCASE_GUID_STRING][..], &[0xA5; 16]].concat();
        let hex = [markers::COMPRESSED_LOWERCASE_HEX_STRING, 3, 0x21, 0x03];
        let time = [markers::COMPRESSED_DATE_TIME_STRING, 4, 0x32, 0x54];
        let four = [markers::PACKED_4BIT_STRING, 3, b'0', 0x21, 0x03];
        let five = [markers::PACKED_5BIT_STRING, 2, b'A', 0x21, 0x03];
        let six = [markers::PACKED_6BIT_STRING, 3, b'0', 0x11, 0x22, 0x01];
        let base64 = [markers::BASE64_STRING_LENGTH1, 2, 1, 1, 2, 3, 4, 5];
        let unpadded = [markers::BASE64_URL_STRING_LENGTH2, 2, 0, !2, 1, 2, 3, 4];
        let long = "{\"resourceType\":\"Patient\"}".repeat(40);
        let version = [0x81, b'7'];
        let ids: [&[u8]; 9] = [&guid, &hex, &four, &five, &six, &base64, &unpadded, &packed("p-1.x"), &plain("pé")];
        for (id, text) in
            ids.iter().flat_map(|id| [plain(&long), packed(&long), plain("{\"é\":1}")].map(|text| (id, text)))
        {
            let raw = object(&[(&packed("data"), &text), (&plain("format"), &plain("Json"))]);
            let row = object(&[
                (&plain("resourceTypeName"), &packed("Patient")),
                (&plain("resourceId"), id),
                (&plain("version"), &version),
                ([markers::SYSTEM_STRING_1BYTE_MIN + 4].as_slice(), &etag),
                (&plain("lastModified"), &time),
                (&plain("isDeleted"), &[markers::FALSE]),
                (&plain("rawResource"), &raw),
            ]);
            let page = page_of(&[row.clone(), row], &[2]);
            assert_eq!(read(plain_page(&page)), read(by_driver(&page)));
            assert_eq!(documents(&page).unwrap().len(), 2);
        }
    }

    #[test]
    fn what_stood_before_is_read_at_its_place() {
        // Behind the preamble, the head of the page, and the name and the string of `_rid`.
        let mut first = row("p1", "{}");
        first["version"] = Value::Null;
        let page = page(&[first, row("p2", "{}")]);
        let place = page.windows(2).position(|bytes| bytes == b"p1").unwrap() - 1;
        let id = page.windows(2).position(|bytes| bytes == b"p2").unwrap() - 1;
        // Three bytes of a string become a reference of three bytes.
        let reference = [&[markers::STR_R2][..], &(place as u16).to_le_bytes()].concat();
        let page: Bytes = [&page[..id], &reference, &page[id + 3..]].concat().into();
        let found = read(plain_page(&page));
        assert_eq!((found[0].0.id.as_ref(), found[1].0.id.as_ref()), ("p1", "p1"));
        assert_eq!((found[0].0.etag.as_deref(), found[1].0.etag.as_deref()), (Some("\"e\""), None));
        assert_eq!(found, read(by_driver(&page)));
        // A reference to a reference leads nowhere.
        let itself = [&[markers::STR_R2][..], &(id as u16).to_le_bytes()].concat();
        let page: Bytes = [&page[..id], &itself, &page[id + 3..]].concat().into();
        assert_eq!(documents(&page), None);
    }

    #[test]
    fn a_row_with_something_odd_is_read_by_the_driver() {
        for odd in [json!(7), json!({ "a": [1.5, true] }), json!([])] {
            let mut other = row("p2", "{}");
            other["version"] = odd.clone();
            let page = page(&[row("p1", "{}"), other]);
            assert!(plain_page(&page).is_none());
            let found = documents(&page).unwrap();
            assert_eq!((found[0].shown_version(), found[1].shown_version()), (Some("2"), Some("e")), "{odd}");
        }
        assert_eq!(documents(&page(&[json!(1)])), None);
        assert_eq!(documents(&page(&[])), Some(Vec::new()));
        let numbers = [&[1][..], &[markers::NUMBER_UINT8, 1], &[markers::NUMBER_INT32, 1, 0, 0, 0]];
        let row = binary_json::encode(&row("p1", "{}"))[1..].to_vec();
        for number in numbers {
            assert_eq!(plain_page(&page_of(std::slice::from_ref(&row), number)).unwrap().1, Some(1));
        }
        assert_eq!(documents(&page_of(&[row], &[2])), None);
    }

    #[test]
    fn a_page_that_breaks_off_or_is_damaged_is_none_or_another() {
        let page = page(&[row("p1", "{\"a\":1}"), row("p2", "{}")]);
        for end in 0..page.len() {
            assert_eq!(documents(&page.slice(..end)), None, "{end}");
        }
        for at in 1..page.len() {
            for change in [0x01, 0x80, 0xFF] {
                let mut damaged = page.to_vec();
                damaged[at] ^= change;
                _ = documents(&damaged.into());
            }
        }
    }
}
