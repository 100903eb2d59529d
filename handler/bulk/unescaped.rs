//! The text of a document, unescaped: for whoever decides by it before its line is written.

use std::mem;

use serde_json::value::RawValue;

use super::document::Document;
use super::line::trimmed;
use super::paths::{NotJson, Text, Walk};
use super::proved::Proved;
use super::shape::{Member, Shape};

/// JSON.
#[derive(Default)]
pub struct Unescaped {
    /// Ends in the text, which is UTF-8.
    room: Vec<u8>,
    /// Where the text begins: what stands before it are lines of others.
    start: usize,
    /// Of a text as servers write it, with its members.
    shape: Option<Shape>,
    members: Vec<Member>,
}

impl Unescaped {
    /// Where there is no text, or none that is JSON, writing its line tells why.
    pub fn of(document: &Document) -> Option<Self> {
        let mut text = Self::default();
        text.becomes(document).then_some(text)
    }

    /// Texts from now on stand behind these lines, so that the line of one need not be copied there.
    pub fn stands_behind(&mut self, lines: Vec<u8>) {
        self.start = lines.len();
        self.room = lines;
    }

    /// The lines, and with them that of the text if it became one ([`super::line::complete`]).
    pub fn take_lines(&mut self) -> Vec<u8> {
        self.room.truncate(mem::take(&mut self.start));
        mem::take(&mut self.room)
    }

    /// Becomes that of another document, in the room that it has. `false` if there is none: then it is of no meaning.
    pub fn becomes(&mut self, document: &Document) -> bool {
        self.room.truncate(self.start);
        let is_text = document.format.as_deref().is_none_or(|format| format == "Json")
            && document.data.as_ref().is_some_and(|data| data.append_to(&mut self.room).is_ok());
        if !is_text {
            return false;
        }
        self.shape = Shape::with_members(&self.room[self.start..], &mut self.members);
        if self.shape.is_some() {
            return true;
        }
        let text = String::from_utf8(self.room.split_off(self.start)).unwrap_or_default();
        self.room.extend_from_slice(trimmed(&text).as_bytes());
        // Whoever looks for something in a text may find it before the place where the text breaks off.
        serde_json::from_slice::<&RawValue>(self.bytes()).is_ok()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.room[self.start..]
    }

    /// Makes it one of the lines, by what writes a line over the text that begins at a place.
    pub(super) fn becomes_line<T>(&mut self, write: impl FnOnce(&mut Vec<u8>, usize, Option<Shape>) -> T) -> T {
        let written = write(&mut self.room, self.start, self.shape.take());
        self.start = self.room.len();
        written
    }

    /// Where the members stand that decide about the line, in a text as servers write it.
    pub fn shape(&self) -> Option<&Shape> {
        self.shape.as_ref()
    }
}

impl Text for Unescaped {
    fn walk(&self, walk: Walk<'_, '_, '_>) -> Result<(), NotJson> {
        match self.shape {
            Some(_) => walk.into_members(&Proved::new(self.bytes()), &self.members),
            None => walk.through(self.bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::line;
    use super::super::paths::Paths;
    use super::super::selection::Selection;
    use super::*;

    fn document(data: &str) -> Document {
        Document { data: Some(data.to_owned().into()), ..Document::default() }
    }

    fn ids(text: &Unescaped) -> Result<Vec<String>, NotJson> {
        let mut ids = Vec::new();
        Paths::of(["id"]).visit(text, &mut |raw| {
            ids.push(raw.to_owned());
            ControlFlow::Continue(())
        })?;
        Ok(ids)
    }

    #[test]
    fn in_place_it_becomes_the_line_that_would_be_appended() {
        let patient = |data: &str| Document {
            resource_type: "Patient".into(),
            id: "a".into(),
            is_meta_set: true,
            ..document(data)
        };
        let documents = [
            patient(r#"{"resourceType":"Patient","id":"a","name":[{"family":"Ä\"ö"}]}"#),
            Document {
                is_meta_set: false,
                version: Some("7".into()),
                last_modified: "2026-01-02T03:04:05.6789012+00:00".into(),
                ..patient(r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"},"active":true}"#)
            },
            patient("\u{feff} {\"resourceType\": \"Patient\",\n \"id\": \"a\"}\n"),
            patient(r#"{"resourceType":"Patient","id":"b"}"#),
            patient(r#"{"resourceType":"Group","id":"a"}"#),
            patient(r#"{"resourceType":"Patient","id":"a","id":"a"}"#),
        ];
        let selection = Selection::default();
        let (mut lines, mut text) = (b"one\ntwo\n".to_vec(), Unescaped::default());
        for document in &documents {
            let mut expected = lines.clone();
            text.stands_behind(lines);
            assert!(text.becomes(document), "{document:?}");
            lines = text.take_lines();
            assert!(lines == expected, "what is not completed is no line");
            let appended = line::append(document, &selection, &mut expected);
            text.stands_behind(lines);
            assert!(text.becomes(document));
            assert_eq!(line::complete(document, &mut text, &selection), appended, "{document:?}");
            lines = text.take_lines();
            assert_eq!(lines, expected, "{document:?}");
        }
        assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 6);
        text.stands_behind(lines.clone());
        assert!(!text.becomes(&document(r#"{"id":"e""#)));
        assert_eq!(text.take_lines(), lines);
    }

    #[test]
    fn whatever_it_was_before_it_becomes_the_other() {
        let plain = document(r#"{"resourceType":"Patient","id":"a","name":[{"family":"of some length"}]}"#);
        let spaced = document("\u{feff} {\"id\": \"b\"}\n");
        let twice = document(r#"{"id":"c","id":"d"}"#);
        let nothing = [
            document(r#"{"id":"e""#),
            document("\"\u{fffd}"),
            Document { data: None, ..plain.clone() },
            Document { format: Some("Xml".into()), ..plain.clone() },
            Document { data: Some(b"{\"id\":\"\xED\xA0\x80\"}".to_vec().into()), ..plain.clone() },
        ];
        let texts = [(&plain, &["\"a\""][..]), (&spaced, &["\"b\""]), (&twice, &["\"c\"", "\"d\""])];
        let mut text = Unescaped::default();
        for before in texts.iter().map(|(before, _)| *before).chain(&nothing) {
            for (after, found) in texts {
                text.becomes(before);
                assert!(text.becomes(after), "{before:?} {after:?}");
                assert_eq!(ids(&text).unwrap(), found, "{before:?} {after:?}");
            }
            for none in &nothing {
                assert!(!text.becomes(none) && Unescaped::of(none).is_none(), "{none:?}");
            }
        }
        assert!(text.becomes(&plain) && text.shape().is_some());
        assert!(text.becomes(&spaced) && text.shape().is_none());
        assert_eq!(text.bytes(), br#"{"id": "b"}"#);
    }
}
