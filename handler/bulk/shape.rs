//! Proves in one pass that a text is one JSON object, and finds the members that decide about its line.
//!
//! The text is looked at 64 bytes at a time, and what a byte is becomes a bit of a word. Which token may follow which depends
//! on no more than the one before and the innermost bracket, so the tokens of a window are judged together: only brackets
//! and numbers are looked at one by one.
//!
//! Only what servers write is read here: an object without spaces between its tokens, no deeper than 63 levels, with plain
//! names. Of any other text nothing is claimed; it is read again, slower.

use std::ops::Range;

use super::marks::{Piece, WINDOW, Window, between, escaped, seen, string_end};
use super::simd::{Seen, Simd, Task};

/// Where the members that decide about a line stand in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The value, a string with its quotes.
    pub resource_type: Option<Range<usize>>,
    /// The same.
    pub id: Option<Range<usize>>,
    /// Where its value begins, whatever it is.
    pub meta: Option<usize>,
}

/// A member of the outermost object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, without the quotes. There is no escape in it.
    pub name: Range<usize>,
    /// Where its value begins.
    pub value: usize,
}

impl Shape {
    /// `None` if the text, which must be UTF-8, is no such object, or repeats one of the members.
    pub fn of(text: &[u8]) -> Option<Self> {
        Self::by(Simd::best(), text, |_| {})
    }

    /// The same, and puts all members into `members`, in their order.
    pub fn with_members(text: &[u8], members: &mut Vec<Member>) -> Option<Self> {
        members.clear();
        Self::by(Simd::best(), text, |member| members.push(member))
    }

    fn by(simd: Simd, text: &[u8], came_by: impl FnMut(Member)) -> Option<Self> {
        if text.first() != Some(&b'{') || text.last() != Some(&b'}') {
            return None;
        }
        simd.run(Reading { text, came_by })
    }
}

/// The reading of a text.
struct Reading<'t, F> {
    text: &'t [u8],
    came_by: F,
}

impl<F: FnMut(Member)> Task for Reading<'_, F> {
    type Done = Option<Shape>;

    #[inline(always)]
    fn by(self, look: impl Fn(&Window) -> Seen, _: impl Fn(&Piece, u64, &mut Piece)) -> Self::Done {
        let Self { text, mut came_by } = self;
        let mut reader = Reader { text, strings: Strings::default(), levels: Levels::default(), tokens: Tokens::new() };
        let mut found = Shape::default();
        for base in (0..text.len()).step_by(WINDOW) {
            let mut members = reader.window(base, seen(&text[base..], &look))?;
            while let Some((name, value)) = members.next(text)? {
                came_by(Member { name: name.clone(), value });
                match &text[name] {
                    b"resourceType" => set(&mut found.resource_type, string(text, value)?)?,
                    b"id" => set(&mut found.id, string(text, value)?)?,
                    b"meta" => set(&mut found.meta, value)?,
                    _ => {}
                }
            }
        }
        (reader.strings.within == 0 && reader.levels.objects == NO_LEVEL).then_some(found)
    }
}

fn set<T>(member: &mut Option<T>, value: T) -> Option<()> {
    member.replace(value).is_none().then_some(())
}

/// The string that begins at a place, with its quotes.
fn string(text: &[u8], at: usize) -> Option<Range<usize>> {
    (text.get(at) == Some(&b'"')).then_some(at..string_end(text, at + 1)? + 1)
}

struct Reader<'t> {
    text: &'t [u8],
    strings: Strings,
    levels: Levels,
    tokens: Tokens,
}

impl Reader<'_> {
    /// Judges the window at `base`. Gives the members of the outermost object whose colons stand in it.
    #[inline(always)]
    fn window(&mut self, base: usize, seen: Seen) -> Option<Members> {
        let length = self.text.len() - base;
        let valid = if length < WINDOW { (1 << length) - 1 } else { u64::MAX };
        if seen.controls != 0 {
            return None;
        }
        let strings = self.strings.window(seen);
        if strings.after_escape != 0 {
            proved_escapes(self.text, base, strings.after_escape)?;
        }
        if strings.inside == u64::MAX && strings.openers == 0 {
            return Some(Members::default());
        }
        let outside = !(strings.inside | strings.closers) & valid;
        let (opens, closes) = (seen.opens & outside, seen.closes & outside);
        let last = if length <= WINDOW { 1 << (length - 1) } else { 0 };
        let levels = self.levels.window(opens, closes, seen.braces, last)?;
        let colons = seen.colons & outside;
        let marks = Marks { strings, levels, opens, closes, colons, commas: seen.commas & outside, outside };
        let (wrong, scalars) = self.tokens.window(&marks);
        if wrong & valid != 0 {
            return None;
        }
        proved_scalars(self.text, base, scalars)?;
        let members = Members {
            base,
            colons: colons & marks.levels.outermost,
            openers: marks.strings.openers,
            opener_before: self.strings.opener,
        };
        if let Some(last) = marks.strings.openers.checked_ilog2() {
            self.strings.opener = base + last as usize;
        }
        Some(members)
    }
}

/// What the bytes of a window are.
struct Marks {
    strings: InStrings,
    levels: InBrackets,
    opens: u64,
    closes: u64,
    colons: u64,
    commas: u64,
    /// All that is in no string.
    outside: u64,
}

/// Follows the strings.
#[derive(Default)]
struct Strings {
    /// All bits, if the last window ended within a string.
    within: u64,
    /// The last window ended in a backslash that escapes.
    first_is_escaped: bool,
    /// Where the last string before this window begins.
    opener: usize,
}

struct InStrings {
    openers: u64,
    closers: u64,
    /// The strings without their closing quotes.
    inside: u64,
    /// What a backslash escapes, except for another one.
    after_escape: u64,
}

impl Strings {
    #[inline(always)]
    fn window(&mut self, seen: Seen) -> InStrings {
        let after_escape = escaped(seen.slashes, &mut self.first_is_escaped);
        let quotes = seen.quotes & !after_escape;
        let inside = between(quotes) ^ self.within;
        self.within = 0u64.wrapping_sub(inside >> (WINDOW - 1));
        InStrings { openers: quotes & inside, closers: quotes & !inside, inside, after_escape }
    }
}

/// Follows the brackets.
struct Levels {
    /// For each level, the innermost last, whether it is an object. Before the outermost one stands a bit that ends them.
    objects: u64,
}

impl Default for Levels {
    fn default() -> Self {
        Self { objects: NO_LEVEL }
    }
}

/// Outside of all brackets.
const NO_LEVEL: u64 = 1;

/// In the outermost object.
const OUTERMOST: u64 = NO_LEVEL << 1 | 1;

struct InBrackets {
    /// From each bracket to the next: whether the innermost one around is an object.
    objects: u64,
    /// Whether it is the outermost.
    outermost: u64,
}

impl Levels {
    /// `None` if brackets do not match, are too deep, or end the object before the text ends: `last` is its last byte.
    #[inline(always)]
    fn window(&mut self, opens: u64, closes: u64, braces: u64, last: u64) -> Option<InBrackets> {
        let all_if = |condition| 0u64.wrapping_sub(u64::from(condition));
        let (mut level, mut objects, mut outermost) =
            (self.objects, all_if(self.objects & 1 == 1), all_if(self.objects == OUTERMOST));
        let mut brackets = opens | closes;
        while brackets != 0 {
            let place = brackets & brackets.wrapping_neg();
            let brace = u64::from(braces & place != 0);
            if opens & place != 0 {
                if level >> (u64::BITS - 1) != 0 {
                    return None;
                }
                level = level << 1 | brace;
            } else {
                if level & 1 != brace {
                    return None;
                }
                level >>= 1;
                if level <= NO_LEVEL && place != last {
                    return None;
                }
            }
            let from_here = place.wrapping_neg();
            // Before here it stays as it is.
            objects = objects & !from_here | from_here & all_if(level & 1 == 1);
            outermost = outermost & !from_here | from_here & all_if(level == OUTERMOST);
            brackets &= brackets - 1;
        }
        self.objects = level;
        Some(InBrackets { objects, outermost })
    }
}

/// Marks whose successors are wanted: the last one of a window has its successor in the next.
#[derive(Default)]
struct Before(u64);

impl Before {
    /// The places behind these marks.
    #[inline(always)]
    fn behind(&mut self, marks: u64) -> u64 {
        let behind = marks << 1 | self.0;
        self.0 = marks >> (WINDOW - 1);
        behind
    }
}

/// Follows which token comes behind which.
#[derive(Default)]
struct Tokens {
    /// The last window ended within a name.
    in_name: bool,
    open: Before,
    name_due: Before,
    name_end: Before,
    value_due: Before,
    array: Before,
    value_end: Before,
    scalar: Before,
}

impl Tokens {
    fn new() -> Self {
        // The text is a value.
        Self { value_due: Before(1), ..Self::default() }
    }

    /// Where there is something else than what is due, and where scalars begin.
    #[inline(always)]
    fn window(&mut self, marks: &Marks) -> (u64, u64) {
        let &Marks { ref strings, ref levels, opens, closes, colons, commas, outside } = marks;
        let &InStrings { openers, closers, inside, .. } = strings;
        let objects = levels.objects;
        let empty = closes & self.open.behind(opens);
        // A name is what follows a brace or a comma in an object. Added to the first bit of a string, a bit runs through
        // to its closing quote.
        let name_due = self.name_due.behind((opens | commas) & objects);
        let names = openers & name_due;
        let (ends, over) = inside.overflowing_add(names);
        let (ends, over_too) = ends.overflowing_add(u64::from(self.in_name));
        self.in_name = over || over_too;
        let name_ends = ends & closers;
        let no_name = name_due & !openers & !empty;
        let no_colon = colons ^ self.name_end.behind(name_ends);
        // A value is what follows a colon, or a comma in an array; behind a bracket there may be one.
        let value_due = self.value_due.behind(colons | commas & !objects);
        let array = self.array.behind(opens & !objects);
        let in_scalar = outside & !(colons | commas | opens | closes);
        let behind_scalar = self.scalar.behind(in_scalar);
        let scalars = in_scalar & !behind_scalar;
        let values = opens | scalars | openers & !names;
        let no_value = (values ^ (value_due | array)) & !(array & closes);
        // And it is followed by a comma or the end of what it is in.
        let ended = self.value_end.behind(closers & !name_ends | closes) | behind_scalar & !in_scalar;
        let no_end = (ended ^ (commas | closes)) & !empty;
        (no_name | no_colon | no_value | no_end, scalars)
    }
}

/// Members of the outermost object, by their colons.
#[derive(Default)]
struct Members {
    base: usize,
    colons: u64,
    openers: u64,
    opener_before: usize,
}

impl Members {
    /// Where the next name stands, without its quotes, and where its value begins. `None` if there is a backslash in the
    /// name: it may be that of any member.
    #[inline(always)]
    fn next(&mut self, text: &[u8]) -> Option<Option<(Range<usize>, usize)>> {
        if self.colons == 0 {
            return Some(None);
        }
        let place = self.colons.trailing_zeros();
        self.colons &= self.colons - 1;
        let openers = self.openers & ((1 << place) - 1);
        let opener = openers.checked_ilog2().map_or(self.opener_before, |last| self.base + last as usize);
        let colon = self.base + place as usize;
        let name = opener + 1..colon - 1;
        (!text[name.clone()].contains(&b'\\')).then_some(Some((name, colon + 1)))
    }
}

/// Whether what stands behind each escaping backslash makes an escape with it.
fn proved_escapes(text: &[u8], base: usize, mut places: u64) -> Option<()> {
    while places != 0 {
        let at = base + places.trailing_zeros() as usize;
        match text.get(at)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            b'u' if text.get(at + 1..at + 5)?.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return None,
        }
        places &= places - 1;
    }
    Some(())
}

/// Whether each scalar is one, up to the next token.
#[inline]
fn proved_scalars(text: &[u8], base: usize, mut places: u64) -> Option<()> {
    while places != 0 {
        let at = base + places.trailing_zeros() as usize;
        let end = at + literal(&text[at..])?;
        if !matches!(text.get(end), Some(b',' | b'}' | b']')) {
            return None;
        }
        places &= places - 1;
    }
    Some(())
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

    /// By whatever this machine has.
    fn shape(text: &[u8]) -> Option<Shape> {
        let all = Simd::all().map(|simd| Shape::by(simd, text, |_| {}));
        let same = |one, other| {
            assert_eq!(one, other);
            one
        };
        all.reduce(same).unwrap()
    }

    fn fast(text: &str) -> Option<[Option<String>; 3]> {
        let Shape { resource_type, id, meta } = shape(text.as_bytes())?;
        let value = |at: usize| {
            let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<&RawValue>();
            values.next().unwrap().unwrap().get().to_owned()
        };
        let string = |span: Option<Range<usize>>| span.map(|span| text[span].to_owned());
        Some([string(resource_type), string(id), meta.map(value)])
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
            prop_assert_eq!(shape(&text.as_bytes()[..at]), None);
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
        assert!(fast(&nested(63)).is_some() && fast(&nested(64)).is_none());
        assert_eq!(fast(r#"{"i\u0064":1}"#), None);
        assert!(fast(r#"{"a":{"i\u0064":1}}"#).is_some());
        assert_eq!(fast(r#"{"id":1,"id":1}"#), None);
        assert_eq!(fast("{} "), None);
        assert!(fast(r#"{"a":[],"b":{},"c":[[],{}]}"#).is_some());
        for with_space in [r#"{ "a":1}"#, r#"{"a" :1}"#, r#"{"a": 1}"#, r#"{"a":1 }"#, r#"{"a":[ ]}"#] {
            assert_eq!(fast(with_space), None);
        }
    }
}
