//! Writes JSON text field by field, in the order in which the fields are given.
//!
//! `serde_json::Map` sorts its keys, and servers do not: a resource begins with its `resourceType`. Decimals are taken as
//! literals, because FHIR gives their trailing zeros a meaning.

/// An object in the making: every call adds one field.
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

/// A list in the making: every call adds one entry.
pub struct List<'a> {
    out: &'a mut String,
    empty: bool,
}

/// How a string is spelled in JSON. Both spellings mean the same and must survive an export as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Only what must be escaped is escaped.
    Plain,
    /// Everything outside ASCII as `\uXXXX`, and the slash as `\/`.
    Escaped,
}

/// A whole object, with its braces.
pub fn object(fill: impl FnOnce(&mut Object)) -> String {
    let mut out = String::with_capacity(512);
    push_object(&mut out, fill);
    out
}

/// The fields of an object without its braces, for texts that are put together from pieces.
pub fn fields(fill: impl FnOnce(&mut Object)) -> String {
    let mut out = String::with_capacity(2048);
    fill(&mut Object { out: &mut out, empty: true });
    out
}

/// The entries of a list without its brackets, one more on each call.
pub fn push_entry(entries: &mut String, fill: impl FnOnce(&mut Object)) {
    let empty = entries.is_empty();
    List { out: entries, empty }.object(fill);
}

impl Object<'_> {
    pub fn string(&mut self, key: &str, value: &str) -> &mut Self {
        self.spelled(key, value, Spelling::Plain)
    }

    pub fn spelled(&mut self, key: &str, value: &str, spelling: Spelling) -> &mut Self {
        self.key(key);
        push_string(self.out, value, spelling);
        self
    }

    pub fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    pub fn integer(&mut self, key: &str, value: usize) -> &mut Self {
        self.raw(key, &value.to_string())
    }

    /// A value that is JSON text already: a decimal with all its digits, or an object written elsewhere.
    pub fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key);
        self.out.push_str(json);
        self
    }

    /// Fields that are JSON text already, as [`fields`] returns them.
    pub fn spread(&mut self, fields: &str) -> &mut Self {
        if !fields.is_empty() {
            separate(self.out, &mut self.empty);
            self.out.push_str(fields);
        }
        self
    }

    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object)) -> &mut Self {
        self.key(key);
        push_object(self.out, fill);
        self
    }

    pub fn list(&mut self, key: &str, fill: impl FnOnce(&mut List)) -> &mut Self {
        self.key(key);
        self.out.push('[');
        fill(&mut List { out: self.out, empty: true });
        self.out.push(']');
        self
    }

    fn key(&mut self, key: &str) {
        separate(self.out, &mut self.empty);
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }
}

impl List<'_> {
    pub fn string(&mut self, value: &str) -> &mut Self {
        self.spelled(value, Spelling::Plain)
    }

    pub fn spelled(&mut self, value: &str, spelling: Spelling) -> &mut Self {
        separate(self.out, &mut self.empty);
        push_string(self.out, value, spelling);
        self
    }

    /// A value that is JSON text already.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        separate(self.out, &mut self.empty);
        self.out.push_str(json);
        self
    }

    pub fn object(&mut self, fill: impl FnOnce(&mut Object)) -> &mut Self {
        separate(self.out, &mut self.empty);
        push_object(self.out, fill);
        self
    }
}

fn separate(out: &mut String, empty: &mut bool) {
    if !*empty {
        out.push(',');
    }
    *empty = false;
}

fn push_object(out: &mut String, fill: impl FnOnce(&mut Object)) {
    out.push('{');
    fill(&mut Object { out, empty: true });
    out.push('}');
}

fn push_string(out: &mut String, value: &str, spelling: Spelling) {
    if spelling == Spelling::Escaped {
        push_escaped(out, value);
    } else if value.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        // A `str` always serializes: it is UTF-8, and the target is memory.
        out.push_str(&serde_json::to_string(value).expect("a string is valid JSON"));
    } else {
        out.push('"');
        out.push_str(value);
        out.push('"');
    }
}

fn push_escaped(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' | '/' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn fields_stay_in_the_order_given() {
        let text = object(|o| {
            o.string("z", "1").integer("a", 2).raw("decimal", "70.50").boolean("flag", true);
            o.list("list", |l| {
                l.string("x").object(|o| _ = o.string("k", "v")).raw("1.0");
            });
            o.object("empty", |_| ()).list("none", |_| ()).spread("\"s\":1,\"t\":2").spread("").string("last", "");
        });
        assert_eq!(
            text,
            r#"{"z":"1","a":2,"decimal":70.50,"flag":true,"list":["x",{"k":"v"},1.0],"empty":{},"none":[],"s":1,"t":2,"last":""}"#
        );
    }

    #[test]
    fn every_string_reads_back_in_both_spellings() {
        let strings = [
            "",
            "plain",
            "a\"b\\c/d",
            "\u{0}\u{1}\n\r\t\u{1f}\u{7f}",
            "é \u{e9} e\u{301}",
            "\u{2028}\u{2029}\u{85}",
            "👩‍⚕️ 李",
        ];
        for string in strings {
            for spelling in [Spelling::Plain, Spelling::Escaped] {
                let text = object(|o| _ = o.spelled("s", string, spelling));
                assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "s": string }), "{text}");
            }
        }
    }

    #[test]
    fn the_escaped_spelling_is_ascii() {
        let text = object(|o| _ = o.spelled("s", "é/😀\n", Spelling::Escaped));
        assert_eq!(text, r#"{"s":"\u00e9\/\ud83d\ude00\u000a"}"#);
    }

    #[test]
    fn entries_are_separated_by_commas() {
        let mut entries = String::new();
        push_entry(&mut entries, |o| _ = o.integer("a", 1));
        push_entry(&mut entries, |o| _ = o.integer("a", 2));
        assert_eq!(entries, r#"{"a":1},{"a":2}"#);
    }
}
