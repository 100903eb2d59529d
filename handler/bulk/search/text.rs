//! Searching by text: its beginning, some of it, or all of it to the letter.

use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;

/// What a string must be like.
#[derive(Clone, Debug)]
pub struct Wanted {
    how: How,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It begins so, whatever the case, the accents and the space between words.
    Begins,
    /// `:contains`: somewhere in it, likewise.
    Contains,
    /// `:exact`.
    Is,
}

impl Wanted {
    /// `None` if it asks for nothing.
    pub fn new(how: How, text: &str) -> Option<Self> {
        let text = match how {
            How::Begins | How::Contains => folded(text),
            How::Is => text.to_owned(),
        };
        (!text.is_empty()).then_some(Self { how, text })
    }

    /// Whether the raw value of a resource is such a string.
    pub fn is_met(&self, raw: &str) -> bool {
        serde_json::from_str::<String>(raw).is_ok_and(|found| match self.how {
            How::Begins => folded(&found).starts_with(&self.text),
            How::Contains => folded(&found).contains(&self.text),
            How::Is => found == self.text,
        })
    }
}

/// Combining classes from here on are marks that stand at, above or below a letter; those before belong to it.
const FIRST_ACCENT: u8 = 200;

/// Without accents, in upper case, with one space between words.
fn folded(text: &str) -> String {
    let classes = CanonicalCombiningClassMapBorrowed::new();
    let mut folded = String::with_capacity(text.len());
    let words = text.split_whitespace().flat_map(|word| [" ", word]).skip(1);
    for c in DecomposingNormalizerBorrowed::new_nfd().normalize_iter(words.flat_map(str::chars)) {
        if classes.get_u8(c) < FIRST_ACCENT {
            folded.extend(c.to_uppercase());
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_space_make_no_difference() {
        for (a, b) in [
            ("Núñez", "NUNEZ"),
            ("nun\u{303}ez", "ñuñez"),
            ("Große", "GROSSE"),
            ("  van\t der   Berg ", "VAN DER BERG"),
            ("Ångström", "angstrom"),
            ("Σίσυφος", "σισυφοσ"),
            ("Đặng", "đang"),
        ] {
            assert_eq!(folded(a), folded(b), "{a}");
        }
        // Letters of their own, and marks that make another letter of one.
        for (a, b) in [("Đ", "D"), ("ø", "o"), ("が", "か"), ("O'Brien", "OBrien")] {
            assert_ne!(folded(a), folded(b), "{a}");
        }
    }
}
