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
    /// UTF-8.
    text: Vec<u8>,
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

    /// Becomes that of another document, in the room that it has. `false` if there is none: then it is of no meaning.
    pub fn becomes(&mut self, document: &Document) -> bool {
        self.text.clear();
        let is_text = document.format.as_deref().is_none_or(|format| format == "Json")
            && document.data.as_ref().is_some_and(|data| data.append_to(&mut self.text).is_ok());
        if !is_text {
            return false;
        }
        self.shape = Shape::with_members(&self.text, &mut self.members);
        if self.shape.is_some() {
            return true;
        }
        let text = String::from_utf8(mem::take(&mut self.text)).unwrap_or_default();
        self.text = trimmed(&text).into();
        // Whoever looks for something in a text may find it before the place where the text breaks off.
        serde_json::from_slice::<&RawValue>(&self.text).is_ok()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// Where the members stand that decide about the line, in a text as servers write it.
    pub fn shape(&self) -> Option<&Shape> {
        self.shape.as_ref()
    }
}

impl Text for Unescaped {
    fn walk(&self, walk: Walk<'_, '_, '_>) -> Result<(), NotJson> {
        match self.shape {
            Some(_) => walk.into_members(&Proved::new(&self.text), &self.members),
            None => walk.through(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::paths::Paths;
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
