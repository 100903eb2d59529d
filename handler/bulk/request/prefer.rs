//! `Prefer` (RFC 7240): what the client would like, and what of it is done (requirements HD-02 to HD-06).

use crate::bulk::asked::Version;

/// The preferences that this server knows. All others are ignored, as the RFC has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// There is no other way to be answered, so it changes nothing but `Preference-Applied`.
    pub respond_asynchronously: bool,
    pub handling: Option<Handling>,
    /// Whether the status of the export is told beside that of the answer (HD-04).
    pub separate_status: bool,
    /// The Bulk Data version whose format the client wants.
    pub version: Option<Version>,
}

/// What becomes of a parameter that cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    Strict,
    Lenient,
}

impl Preferences {
    /// Reads the header's lines, joined by commas. Of a preference that comes twice the first one counts, also when
    /// it says nothing that is known.
    pub fn read(header: &str) -> Self {
        let mut preferences = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for preference in split(header, ',') {
            // What follows a semicolon are parameters of the preference; none is known.
            let stated = split(preference, ';').next().unwrap_or_default();
            let (name, value) = stated.split_once('=').unwrap_or((stated, ""));
            let name = name.trim().to_ascii_lowercase();
            if !seen.contains(&name) {
                preferences.take(&name, &unquoted(value.trim()).to_ascii_lowercase());
                seen.push(name);
            }
        }
        preferences
    }

    fn take(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("respond-async", "") => self.respond_asynchronously = true,
            ("separate-export-status", "") => self.separate_status = true,
            ("handling", "strict") => self.handling = Some(Handling::Strict),
            ("handling", "lenient") => self.handling = Some(Handling::Lenient),
            ("bulk-data-version", "3") => self.version = Some(Version::V3),
            ("bulk-data-version", "4") => self.version = Some(Version::V4),
            _ => {}
        }
    }

    pub fn lenient(self) -> bool {
        self.handling == Some(Handling::Lenient)
    }

    /// `Preference-Applied`, unless nothing was asked for that is done.
    pub fn applied(self) -> Option<String> {
        let handling = self.handling.map(|handling| match handling {
            Handling::Strict => "handling=strict",
            Handling::Lenient => "handling=lenient",
        });
        let version = self.version.map(|version| match version {
            Version::V3 => "bulk-data-version=3",
            Version::V4 => "bulk-data-version=4",
        });
        let applied = [
            self.respond_asynchronously.then_some("respond-async"),
            handling,
            self.separate_status.then_some("separate-export-status"),
            version,
        ];
        let applied: Vec<&str> = applied.into_iter().flatten().collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

/// The parts between separators that stand outside of quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let separates = c == separator && !quoted;
        let ends_or_begins = c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        quoted ^= ends_or_begins;
        separates
    })
}

/// The text of a quoted string without escapes, or the token itself: no value that is known needs an escape.
fn unquoted(word: &str) -> &str {
    word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_found_in_any_spelling_and_among_unknown_ones() {
        for (header, applied) in [
            ("", None),
            ("respond-async", Some("respond-async")),
            ("Respond-ASYNC , Handling = LENIENT", Some("respond-async, handling=lenient")),
            ("handling=\"lenient\";reason=\"a, b\"", Some("handling=lenient")),
            ("respond-async; wait=10", Some("respond-async")),
            ("wait=10, return=minimal, separate-export-status", Some("separate-export-status")),
            ("separate-export-status,respond-async", Some("respond-async, separate-export-status")),
            ("bulk-data-version=4", Some("bulk-data-version=4")),
            ("respond-async, bulk-data-version=\"3\"", Some("respond-async, bulk-data-version=3")),
            ("bulk-data-version=5", None),
            ("respond-async=no, handling", None),
            ("x=\"respond-async\\\", handling=lenient\"", None),
            ("x=\"unclosed, handling=lenient", None),
            (",;=,,\"", None),
        ] {
            assert_eq!(Preferences::read(header).applied().as_deref(), applied, "{header}");
        }
    }

    #[test]
    fn the_first_of_a_repeated_preference_counts() {
        assert!(!Preferences::read("handling=strict, handling=lenient").lenient());
        assert!(!Preferences::read("handling=other, handling=lenient").lenient());
        assert!(Preferences::read("handling=lenient, handling=strict").lenient());
    }
}
