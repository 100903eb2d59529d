//! Text that is proved to be JSON as servers write it: whoever looks for something in it need not prove it again.

use std::borrow::Cow;
use std::ops::Range;

use super::marks::string_end;
use super::paths::NotJson;

/// One of which [`super::shape::Shape`] has proved that it is JSON, without spaces between its tokens. Of any other text what is
/// told here is of no meaning, or an error.
pub struct Proved<'t>(&'t [u8]);

impl<'t> Proved<'t> {
    pub fn new(text: &'t [u8]) -> Self {
        Self(text)
    }

    pub fn part(&self, range: Range<usize>) -> Result<&'t [u8], NotJson> {
        self.0.get(range).ok_or(NotJson)
    }

    pub fn begins_object(&self, at: usize) -> bool {
        self.0.get(at) == Some(&b'{')
    }

    pub fn begins_array(&self, at: usize) -> bool {
        self.0.get(at) == Some(&b'[')
    }

    /// Where the value ends that begins at a place.
    pub fn end(&self, at: usize) -> Result<usize, NotJson> {
        match self.0.get(at).ok_or(NotJson)? {
            b'"' => self.string_end(at),
            b'{' | b'[' => self.brackets_end(at),
            _ => {
                let scalar = &self.0[at..];
                let length = scalar.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(scalar.len());
                if length > 0 { Ok(at + length) } else { Err(NotJson) }
            }
        }
    }

    /// Comes by each member of an object with its name and where its value begins, and is told where that ends. Gives where the
    /// object ends.
    pub fn members(
        &self,
        object: usize,
        mut by: impl FnMut(&[u8], usize) -> Result<usize, NotJson>,
    ) -> Result<usize, NotJson> {
        let mut at = object + 1;
        while self.0.get(at) == Some(&b'"') {
            let end = self.string_end(at)?;
            let name = name(self.part(at..end)?)?;
            // Behind a name there is a colon, and behind a value a comma or the end.
            at = by(&name, end + 1)?;
            at += usize::from(self.0.get(at) == Some(&b','));
        }
        Ok(at + 1)
    }

    /// Comes by each item of an array, and is told where it ends. Gives where the array ends.
    pub fn items(&self, array: usize, mut by: impl FnMut(usize) -> Result<usize, NotJson>) -> Result<usize, NotJson> {
        let mut at = array + 1;
        while self.0.get(at).ok_or(NotJson)? != &b']' {
            at = by(at)?;
            at += usize::from(self.0.get(at) == Some(&b','));
        }
        Ok(at + 1)
    }

    fn string_end(&self, at: usize) -> Result<usize, NotJson> {
        string_end(self.0, at + 1).map(|quote| quote + 1).ok_or(NotJson)
    }

    fn brackets_end(&self, at: usize) -> Result<usize, NotJson> {
        let (mut at, mut open) = (at, 0usize);
        loop {
            match self.0.get(at).ok_or(NotJson)? {
                b'"' => at = self.string_end(at)?,
                b'{' | b'[' => (at, open) = (at + 1, open + 1),
                b'}' | b']' if open <= 1 => return Ok(at + 1),
                b'}' | b']' => (at, open) = (at + 1, open - 1),
                _ => at += 1,
            }
        }
    }
}

/// What a string is that names a member: nearly always the bytes between its quotes.
fn name(string: &[u8]) -> Result<Cow<'_, [u8]>, NotJson> {
    match string {
        [b'"', name @ .., b'"'] if !name.contains(&b'\\') => Ok(Cow::Borrowed(name)),
        _ => serde_json::from_slice::<String>(string).map(|name| Cow::Owned(name.into_bytes())).map_err(|_| NotJson),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// All values, by way of members and items.
    fn values<'t>(text: &Proved<'t>, at: usize, all: &mut Vec<&'t [u8]>) -> Result<usize, NotJson> {
        let end = text.end(at)?;
        all.push(text.part(at..end)?);
        let by_parts = match (text.begins_object(at), text.begins_array(at)) {
            (true, _) => text.members(at, |_, value| values(text, value, all))?,
            (_, true) => text.items(at, |item| values(text, item, all))?,
            _ => end,
        };
        assert_eq!(by_parts, end);
        Ok(end)
    }

    #[test]
    fn values_end_where_they_end() {
        let text = r#"{"a":[1,-2.5e7,"]\"}",[],{}],"b\u0063":{"d":null,"":[[true]]},"e":false}"#;
        let mut all = Vec::new();
        assert_eq!(values(&Proved::new(text.as_bytes()), 0, &mut all), Ok(text.len()));
        let all: Vec<_> = all.into_iter().map(|value| str::from_utf8(value).unwrap()).collect();
        assert_eq!(all[2..7], ["1", "-2.5e7", r#""]\"}""#, "[]", "{}"]);
        assert!(all.iter().all(|value| serde_json::from_str::<&RawValue>(value).is_ok_and(|raw| raw.get() == *value)));
        let mut names = Vec::new();
        let text = Proved::new(text.as_bytes());
        let each = |name: &[u8], value| {
            names.push(String::from_utf8_lossy(name).into_owned());
            text.end(value)
        };
        assert!(text.members(0, each).is_ok());
        assert_eq!(names, ["a", "bc", "e"]);
    }

    proptest! {
        #[test]
        fn of_a_text_that_is_not_proved_something_is_told_or_nothing(text in "[{}\\[\\]\",:\\\\a1]{0,40}") {
            _ = values_of_any(&Proved::new(text.as_bytes()), 0);
        }
    }

    fn values_of_any(text: &Proved<'_>, at: usize) -> Result<usize, NotJson> {
        if text.begins_object(at) {
            return text.members(at, |_, value| values_of_any(text, value));
        }
        if text.begins_array(at) {
            return text.items(at, |item| values_of_any(text, item));
        }
        text.end(at)
    }
}
