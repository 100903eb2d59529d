//! Proves in one pass that a text is one JSON object, and finds the members that decide about its line.
//!
//! Only what servers write is read here: an object without control characters between its tokens, no deeper than 64
//! levels, with plain names. Of any other text nothing is claimed; it is read again, slower.

use std::ops::Range;

use super::marks::{WINDOW, Window};

/// Where the values of these members stand in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub resource_type: Option<Range<usize>>,
    pub id: Option<Range<usize>>,
    pub meta: Option<Range<usize>>,
}

impl Shape {
    /// `None` if the text, which must be UTF-8, is no such object, or repeats one of the members.
    pub fn of(text: &[u8]) -> Option<Self> {
        if text.first() != Some(&b'{') || text.last() != Some(&b'}') {
            return None;
        }
        let mut reader = Reader::new(text);
        let mut base = 0;
        while base < text.len() {
            let window = Window::first_of(&text[base..]);
            let within = (text.len() - base).min(WINDOW);
            // Behind the end of the text there are zeros.
            if (window.is_control() & u64::MAX >> (WINDOW - within)) != 0 {
                return None;
            }
            let mut marks = window.is(b'"') | window.is(b'\\');
            while marks != 0 {
                reader.mark(base + marks.trailing_zeros() as usize)?;
                marks &= marks - 1;
            }
            base += WINDOW;
        }
        reader.end()
    }
}

/// What may come next, besides spaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
}

#[derive(Clone, Copy)]
enum Member {
    ResourceType,
    Id,
    Meta,
    Other,
}

struct Reader<'t> {
    text: &'t [u8],
    /// Where the string began, or what stands between two strings.
    from: usize,
    in_string: bool,
    /// The string has an escape; the byte behind its last backslash is at this place.
    escaped: Option<usize>,
    next: Next,
    depth: u32,
    /// For each level, the innermost last, whether it is an object.
    objects: u64,
    /// The member of the text that is being read, and where its value began.
    member: Member,
    value: usize,
    found: Shape,
}

impl<'t> Reader<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            from: 0,
            in_string: false,
            escaped: None,
            next: Next::Value,
            depth: 0,
            objects: 0,
            member: Member::Other,
            value: 0,
            found: Shape::default(),
        }
    }

    /// A quote or a backslash.
    #[inline]
    fn mark(&mut self, at: usize) -> Option<()> {
        if self.in_string && self.escaped == Some(at) {
            return Some(());
        }
        if self.text[at] != b'"' {
            return self.escape(at);
        }
        if self.in_string {
            self.string_ends(at + 1)?;
            self.from = at + 1;
        } else {
            self.between(self.from, at)?;
            self.from = at;
            self.escaped = None;
        }
        self.in_string = !self.in_string;
        Some(())
    }

    fn escape(&mut self, at: usize) -> Option<()> {
        let letter = self.text.get(at + 1).filter(|_| self.in_string)?;
        self.escaped = Some(at + 1);
        match letter {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => self.text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit).then_some(()),
            _ => None,
        }
    }

    #[inline]
    fn string_ends(&mut self, end: usize) -> Option<()> {
        match self.next {
            Next::Value | Next::ValueOrEnd => {
                self.value_begins(self.from);
                self.value_ends(end)
            }
            Next::Name | Next::NameOrEnd => {
                self.next = Next::Colon;
                if self.depth > 1 {
                    return Some(());
                }
                self.member = match &self.text[self.from + 1..end - 1] {
                    // It may be one of the others.
                    _ if self.escaped.is_some() => return None,
                    b"resourceType" => Member::ResourceType,
                    b"id" => Member::Id,
                    b"meta" => Member::Meta,
                    _ => Member::Other,
                };
                Some(())
            }
            Next::Colon | Next::CommaOrEnd => None,
        }
    }

    /// What stands between two strings, or behind the last one.
    #[inline]
    fn between(&mut self, from: usize, to: usize) -> Option<()> {
        let mut at = from;
        while at < to {
            let byte = self.text[at];
            let in_object = self.objects & 1 == 1;
            match (self.next, byte) {
                (Next::Colon, b':') => self.next = Next::Value,
                (Next::CommaOrEnd, b',') if self.depth > 0 => {
                    self.next = if in_object { Next::Name } else { Next::Value };
                }
                (Next::Value | Next::ValueOrEnd, b'{') => self.open(at, 1, Next::NameOrEnd)?,
                (Next::Value | Next::ValueOrEnd, b'[') => self.open(at, 0, Next::ValueOrEnd)?,
                (Next::CommaOrEnd | Next::NameOrEnd, b'}') if self.depth > 0 && in_object => self.close(at)?,
                (Next::CommaOrEnd | Next::ValueOrEnd, b']') if self.depth > 0 && !in_object => self.close(at)?,
                (_, b' ') => {}
                (Next::Value | Next::ValueOrEnd, _) => {
                    self.value_begins(at);
                    at += literal(&self.text[at..to])?;
                    self.value_ends(at)?;
                    continue;
                }
                (Next::Name | Next::NameOrEnd | Next::Colon | Next::CommaOrEnd, _) => return None,
            }
            at += 1;
        }
        Some(())
    }

    #[inline]
    fn open(&mut self, at: usize, object: u64, next: Next) -> Option<()> {
        if self.depth == u64::BITS {
            return None;
        }
        self.value_begins(at);
        self.depth += 1;
        self.objects = self.objects << 1 | object;
        self.next = next;
        Some(())
    }

    #[inline]
    fn close(&mut self, at: usize) -> Option<()> {
        self.depth -= 1;
        self.objects >>= 1;
        self.value_ends(at + 1)
    }

    #[inline]
    fn value_begins(&mut self, at: usize) {
        if self.depth == 1 {
            self.value = at;
        }
    }

    #[inline]
    fn value_ends(&mut self, end: usize) -> Option<()> {
        self.next = Next::CommaOrEnd;
        if self.depth != 1 {
            return Some(());
        }
        let member = match self.member {
            Member::ResourceType => &mut self.found.resource_type,
            Member::Id => &mut self.found.id,
            Member::Meta => &mut self.found.meta,
            Member::Other => return Some(()),
        };
        let before = member.replace(self.value..end);
        before.is_none().then_some(())
    }

    fn end(mut self) -> Option<Shape> {
        self.between(self.from, self.text.len())?;
        (!self.in_string && self.depth == 0 && self.next == Next::CommaOrEnd).then_some(self.found)
    }
}

/// The length of the number, or of `true`, `false` or `null`, at the start of `text`.
fn literal(text: &[u8]) -> Option<usize> {
    if let Some(name) = [&b"true"[..], b"false", b"null"].into_iter().find(|name| text.starts_with(name)) {
        return Some(name.len());
    }
    let digits = |from: usize| {
        let count = text.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    let start = usize::from(text.starts_with(b"-"));
    let mut end = if text.get(start) == Some(&b'0') { start + 1 } else { digits(start)? };
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let signed = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = digits(end + 1 + usize::from(signed))?;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::super::members::Members;
    use super::*;

    /// The same by serde_json: `None` if it is no object or repeats one of the members.
    fn slow(text: &str) -> Option<[Option<String>; 3]> {
        let Members(members) = serde_json::from_str(text).ok()?;
        let value = |name: &str| -> Option<Option<String>> {
            let mut found =
                members.iter().filter(|(member, _)| member == name).map(|(_, value)| value.get().to_owned());
            let first = found.next();
            found.next().is_none().then_some(first)
        };
        Some([value("resourceType")?, value("id")?, value("meta")?])
    }

    fn fast(text: &str) -> Option<[Option<String>; 3]> {
        let Shape { resource_type, id, meta } = Shape::of(text.as_bytes())?;
        Some([resource_type, id, meta].map(|span| span.map(|span| text[span].to_owned())))
    }

    /// Pieces that make a text that is nearly JSON, or is.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            " ",
            "\"",
            "\\",
            "\"id\":",
            "\"meta\":{",
            "\"resourceType\":\"Patient\",",
            "\"a\"",
            "\"a\":",
            "1",
            "-0",
            "0.5e+3",
            "01",
            "1.",
            "1e",
            "-",
            "true",
            "null",
            "nul",
            "\\\"",
            "\\u00e9",
            "\\u00g9",
            "\"x\\\"y\"",
            "ä",
            "\n",
            "\u{1}",
            "\"a value that is longer than a window has bytes, so that it goes over its end\"",
        ]);
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        let name = prop_oneof![Just("id".to_owned()), Just("meta".to_owned()), any::<String>(), "[a-z]{1,9}"];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map(name.clone(), inner, 0..6).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_is_claimed_is_what_serde_json_says(text in pieces()) {
            for text in [format!("{{{text}}}"), format!("{{\"id\":{text}}}"), text] {
                if let Some(found) = fast(&text) {
                    prop_assert_eq!(Some(found), slow(&text), "{}", text);
                }
            }
        }

        #[test]
        fn one_changed_byte_is_not_overlooked(value in json(), at: prop::sample::Index, byte in 0x20u8..0x7F) {
            let mut text = serde_json::json!({ "resourceType": "Patient", "id": "p1", "value": value }).to_string().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            if let Ok(text) = String::from_utf8(text) && let Some(found) = fast(&text) {
                prop_assert_eq!(Some(found), slow(&text), "{}", text);
            }
        }

        #[test]
        fn an_object_as_servers_write_it_is_read(value in json()) {
            let text = serde_json::json!({ "resourceType": "Patient", "id": "p1", "meta": value, "z": value }).to_string();
            prop_assert_eq!(fast(&text), slow(&text));
            prop_assert!(fast(&text).is_some());
        }

        #[test]
        fn a_text_that_breaks_off_is_nothing(value in json(), at: prop::sample::Index) {
            let text = serde_json::json!({ "id": "p1", "value": value }).to_string();
            let at = at.index(text.len());
            prop_assert_eq!(Shape::of(&text.as_bytes()[..at]), None);
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        for text in ["0", "-0", "1", "123456789012345678.90", "1.5e-9", "1E5", "0e0", "-1.0"] {
            assert_eq!(literal(text.as_bytes()), Some(text.len()), "{text}");
        }
        for text in ["", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "tru", "NaN", "-x"] {
            assert_eq!(literal(text.as_bytes()), None, "{text}");
            assert!(serde_json::from_str::<&RawValue>(text).is_err(), "{text}");
        }
        // What follows must be a comma or an end.
        assert_eq!(fast(r#"{"a":01}"#), None);
    }

    #[test]
    fn depth_has_a_limit_and_names_are_plain() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(fast(&nested(64)).is_some() && fast(&nested(65)).is_none());
        assert_eq!(fast(r#"{"i\u0064":1}"#), None);
        assert!(fast(r#"{"a":{"i\u0064":1}}"#).is_some());
        assert_eq!(fast(r#"{"id":1,"id":1}"#), None);
        assert_eq!(fast("{} "), None);
        assert!(fast(r#"{ "a" : [ ] , "b" : { } }"#).is_some());
    }
}
