//! Walks the JSON text of a resource along a few paths: what lies beside them is passed over, and no tree is made.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::proved::Proved;
use super::shape::Member;

/// Paths of member names, such as `participant.actor.reference`. A path goes through every item of an array.
#[derive(Clone, Debug, Default)]
pub struct Paths(Vec<Node>);

#[derive(Clone, Debug)]
struct Node {
    name: String,
    /// Whether a path ends here.
    is_end: bool,
    below: Paths,
}

/// The text is no JSON, or a value on a path is none that could be read.
#[derive(Debug, PartialEq, Eq)]
pub struct NotJson;

impl Paths {
    pub fn of<P: AsRef<str>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut all = Self::default();
        for path in paths {
            all.add(path.as_ref());
        }
        all
    }

    fn add(&mut self, path: &str) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let index = self.0.iter().position(|node| node.name == name).unwrap_or_else(|| {
            self.0.push(Node { name: name.into(), is_end: false, below: Self::default() });
            self.0.len() - 1
        });
        match rest {
            Some(rest) => self.0[index].below.add(rest),
            None => self.0[index].is_end = true,
        }
    }

    /// Hands the raw text of every value at the end of a path to `found`, until it has seen enough.
    pub fn visit<T: Text + ?Sized>(
        &self,
        text: &T,
        found: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), NotJson> {
        let mut visit = Visit { found, is_enough: false };
        match text.walk(Walk { paths: self, visit: &mut visit }) {
            Err(NotJson) if !visit.is_enough => Err(NotJson),
            Ok(()) | Err(NotJson) => Ok(()),
        }
    }

    fn node(&self, name: &[u8]) -> Option<&Node> {
        self.0.iter().find(|node| node.name.as_bytes() == name)
    }
}

/// JSON that can be walked. An error, if enough was seen as well.
pub trait Text {
    fn walk(&self, walk: Walk<'_, '_, '_>) -> Result<(), NotJson>;
}

impl Text for str {
    fn walk(&self, walk: Walk<'_, '_, '_>) -> Result<(), NotJson> {
        walk.through(self.as_bytes())
    }
}

/// What a walk has come by.
pub struct Visit<'f> {
    found: &'f mut dyn FnMut(&str) -> ControlFlow<()>,
    is_enough: bool,
}

impl Visit<'_> {
    /// A value at the end of a path, or each item of it. An error ends the walk.
    fn end<E: Error>(&mut self, raw: &str) -> Result<(), E> {
        if raw.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(E::custom)?;
            return items.into_iter().try_for_each(|item| self.end(item.get()));
        }
        self.value(raw).map_err(|NotJson| E::custom("enough"))
    }

    /// A value at the end of a path that is no array.
    fn value(&mut self, raw: &str) -> Result<(), NotJson> {
        if raw != "null" && (self.found)(raw).is_break() {
            self.is_enough = true;
            return Err(NotJson);
        }
        Ok(())
    }
}

/// A walk that has got this far.
pub struct Walk<'p, 'v, 'f> {
    paths: &'p Paths,
    visit: &'v mut Visit<'f>,
}

impl Walk<'_, '_, '_> {
    /// Goes through a whole text.
    pub fn through(self, text: &[u8]) -> Result<(), NotJson> {
        self.deserialize(&mut serde_json::Deserializer::from_slice(text)).map_err(|_| NotJson)
    }

    /// Goes into members of the outermost object of a text that is proved, instead.
    pub fn into_members(self, text: &Proved<'_>, members: &[Member]) -> Result<(), NotJson> {
        for Member { name, value } in members {
            if let Some(node) = self.paths.node(text.part(name.clone())?) {
                node.enter_proved(text, *value, self.visit)?;
            }
        }
        Ok(())
    }

    /// Goes into a value of a text that is proved. Gives where it ends.
    fn into_value(self, text: &Proved<'_>, at: usize) -> Result<usize, NotJson> {
        let Walk { paths, visit } = self;
        if text.begins_object(at) {
            return text.members(at, |name, value| match paths.node(name) {
                Some(node) => node.enter_proved(text, value, visit),
                None => text.end(value),
            });
        }
        if text.begins_array(at) {
            return text.items(at, |item| Walk { paths, visit: &mut *visit }.into_value(text, item));
        }
        text.end(at)
    }
}

impl Node {
    /// Walks on in the value of a member, of a text that is proved. Gives where it ends.
    fn enter_proved(&self, text: &Proved<'_>, at: usize, visit: &mut Visit<'_>) -> Result<usize, NotJson> {
        if self.is_end {
            let end = end_proved(text, at, visit)?;
            if self.below.0.is_empty() {
                return Ok(end);
            }
        }
        Walk { paths: &self.below, visit }.into_value(text, at)
    }

    /// Walks on in the value of a member.
    fn enter<'de, D: Deserializer<'de>>(&self, value: D, visit: &mut Visit<'_>) -> Result<(), D::Error> {
        if !self.is_end {
            return Walk { paths: &self.below, visit }.deserialize(value);
        }
        let raw = <&RawValue>::deserialize(value)?.get();
        visit.end(raw)?;
        if self.below.0.is_empty() {
            return Ok(());
        }
        let below = Walk { paths: &self.below, visit };
        below.deserialize(&mut serde_json::Deserializer::from_str(raw)).map_err(D::Error::custom)
    }
}

/// A JSON string, if this is one.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let content = raw.strip_prefix('"')?.strip_suffix('"')?;
    match content.contains('\\') {
        true => serde_json::from_str(raw).ok().map(Cow::Owned),
        false => Some(Cow::Borrowed(content)),
    }
}

/// A value at the end of a path, or each item of it, in a text that is proved.
fn end_proved(text: &Proved<'_>, at: usize, visit: &mut Visit<'_>) -> Result<usize, NotJson> {
    if text.begins_array(at) {
        return text.items(at, |item| end_proved(text, item, visit));
    }
    let end = text.end(at)?;
    visit.value(str::from_utf8(text.part(at..end)?).map_err(|_| NotJson)?)?;
    Ok(end)
}

/// The same, for the value that is next.
struct Enter<'n, 'v, 'f>(&'n Node, &'v mut Visit<'f>);

impl<'de> DeserializeSeed<'de> for Enter<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        self.0.enter(value, self.1)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(node) = map.next_key_seed(Step(self.paths))? {
            match node {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(node) => map.next_value_seed(Enter(node, &mut *self.visit))?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk { paths: self.paths, visit: &mut *self.visit })?.is_some() {}
        Ok(())
    }

    // Where a path wants to go on, and there is nothing to go into.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a member: which of the paths go on with it.
struct Step<'p>(&'p Paths);

impl<'de, 'p> DeserializeSeed<'de> for Step<'p> {
    type Value = Option<&'p Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Step<'p> {
    type Value = Option<&'p Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.node(name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::document::Document;
    use super::super::unescaped::Unescaped;
    use super::*;

    fn found(paths: &[&str], text: &str) -> Result<Vec<String>, NotJson> {
        let mut all = Vec::new();
        Paths::of(paths).visit(text, &mut |raw| {
            all.push(raw.to_owned());
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    #[test]
    fn a_path_goes_through_arrays_and_past_everything_else() {
        let text = r#"{"x":[1e999],"a":[{"b":"1"},{"b":["2",null,["3"]]},7,null,{"c":{"b":"no"}}],"\u0061":{"b":{"d":4.0}},"b":5}"#;
        assert_eq!(found(&["a.b"], text).unwrap(), [r#""1""#, r#""2""#, r#""3""#, r#"{"d":4.0}"#]);
        assert_eq!(found(&["a.b", "a.b.d", "b", "none"], text).unwrap().last().map(String::as_str), Some("5"));
        assert_eq!(found(&["a.b.d"], text).unwrap(), ["4.0"]);
    }

    #[test]
    fn whoever_has_seen_enough_sees_no_more() {
        let mut seen = 0;
        let enough = Paths::of(["a"]).visit(r#"{"a":[1,2],"a":3,"#, &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!((enough, seen), (Ok(()), 1));
        assert_eq!(found(&["b"], r#"{"a":[1,2],"#), Err(NotJson));
    }

    /// The obvious way: through a tree.
    fn walked(value: &Value, path: &[&str], all: &mut Vec<Value>) {
        match (value, path) {
            (Value::Array(items), _) => items.iter().for_each(|item| walked(item, path, all)),
            (Value::Null, []) => {}
            (other, []) => all.push(other.clone()),
            (Value::Object(members), [name, rest @ ..]) => {
                members.get(*name).into_iter().for_each(|member| walked(member, rest, all));
            }
            (_, _) => {}
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            "[a-c\"\\\\ü]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            let members = prop::collection::btree_map("[a-c]", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_walk_finds_what_stands_in_the_tree(tree in tree(), path in prop::collection::vec("[a-c]", 1..4)) {
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            let mut expected = Vec::new();
            walked(&tree, &names, &mut expected);
            let found = found(&[&path.join(".")], &tree.to_string()).unwrap();
            let found: Vec<Value> = found.iter().map(|raw| serde_json::from_str(raw).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn through_the_members_it_is_the_same(tree in tree(), paths in prop::collection::vec("[a-c](\\.[a-c]){0,2}", 1..4)) {
            let document = Document { data: Some(tree.to_string().into()), ..Document::default() };
            let text = Unescaped::of(&document).unwrap();
            // Also one of which the members are not known.
            let spaced = Document { data: Some(format!(" {tree}").into()), ..document };
            for text in [text, Unescaped::of(&spaced).unwrap()] {
                let mut all = Vec::new();
                let found_in = Paths::of(&paths).visit(&text, &mut |raw| {
                    all.push(raw.to_owned());
                    ControlFlow::Continue(())
                });
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                prop_assert_eq!(found_in.map(|()| all), found(&paths, str::from_utf8(text.bytes()).unwrap()));
            }
        }
    }
}
