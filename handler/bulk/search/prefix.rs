//! What stands before a date or a number in a search, and how what is found must lie to it (TF-11).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    StartsAfter,
    EndsBefore,
    Approximately,
}

impl Prefix {
    /// The prefix of a value, and the value; `None` if its first two letters are no prefix.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        let Some(letters) = text.get(..2).filter(|letters| letters.bytes().all(|b| b.is_ascii_lowercase())) else {
            return Some((Prefix::Equal, text));
        };
        let prefix = match letters {
            "eq" => Prefix::Equal,
            "ne" => Prefix::NotEqual,
            "gt" => Prefix::Greater,
            "lt" => Prefix::Less,
            "ge" => Prefix::GreaterOrEqual,
            "le" => Prefix::LessOrEqual,
            "sa" => Prefix::StartsAfter,
            "eb" => Prefix::EndsBefore,
            "ap" => Prefix::Approximately,
            _ => return None,
        };
        Some((prefix, &text[2..]))
    }
}
