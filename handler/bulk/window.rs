//! The span of time in which a version must have been made, to belong to an export (requirements TT-01, TT-02).

use super::asked::Asked;
use super::document::Document;
use super::timestamp::Timestamp;

/// `since < lastModified ≤ until`, and `lastModified < before`. Consecutive windows, each since the `until` of the one
/// before, tile: every version lies in exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub since: Option<Timestamp>,
    /// The transaction time: what counts is the version that was current then.
    pub until: Timestamp,
    pub before: Option<Timestamp>,
    /// Whether deletions within the window belong to the export as well (DE-01).
    pub deletions: bool,
}

impl Window {
    pub fn new(asked: &Asked, transaction_time: Timestamp) -> Self {
        let deletions = asked.tells_of_deletions();
        Self { since: asked.since, until: transaction_time, before: asked.before, deletions }
    }

    /// Everything that was current at a time.
    pub fn up_to(until: Timestamp) -> Self {
        Self { since: None, until, before: None, deletions: false }
    }

    /// The window for comparing many documents.
    pub fn spelled(&self) -> Spelled {
        let spelled = |time: Option<Timestamp>| time.map(Timestamp::last_modified);
        let (until, deletions) = (self.until.last_modified(), self.deletions);
        Spelled { since: spelled(self.since), until, before: spelled(self.before), deletions }
    }
}

/// A [`Window`] as the store spells times: all of one width, so that their order as text is their order in time.
#[derive(Clone, Debug)]
pub struct Spelled {
    since: Option<String>,
    until: String,
    before: Option<String>,
    deletions: bool,
}

impl Spelled {
    /// Whether the document lies in the window, and is no deletion that does not belong there. A time of another form
    /// cannot be compared: the document is kept, and its line or its flaw tells.
    pub fn holds(&self, document: &Document) -> bool {
        let time = &*document.last_modified;
        let in_time = time.len() != self.until.len()
            || (time <= self.until.as_str()
                && self.since.as_deref().is_none_or(|since| time > since)
                && self.before.as_deref().is_none_or(|before| time < before));
        in_time && (self.deletions || !document.is_deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::associated::Associated;
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn modified(text: &str) -> Document {
        Document { last_modified: text.into(), ..Document::default() }
    }

    #[test]
    fn consecutive_windows_tile() {
        let [first, second] = [time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00.123Z")];
        let windows = [Window::up_to(first), Window { since: Some(first), ..Window::up_to(second) }];
        for (text, expected) in [
            ("2025-12-31T23:59:59.9999999+00:00", [true, false]),
            ("2026-01-01T00:00:00.0000000+00:00", [true, false]),
            ("2026-01-01T00:00:00.0000001+00:00", [false, true]),
            ("2026-01-02T00:00:00.1230000+00:00", [false, true]),
            ("2026-01-02T00:00:00.1230001+00:00", [false, false]),
        ] {
            assert_eq!(windows.map(|window| window.spelled().holds(&modified(text))), expected, "{text}");
        }
    }

    #[test]
    fn before_excludes_its_own_moment() {
        let window =
            Window { before: Some(time("2026-01-01T00:00:00Z")), ..Window::up_to(time("2026-06-01T00:00:00Z")) };
        assert!(window.spelled().holds(&modified("2025-12-31T23:59:59.9999999+00:00")));
        assert!(!window.spelled().holds(&modified("2026-01-01T00:00:00.0000000+00:00")));
    }

    #[test]
    fn deletions_lie_in_windows_with_a_beginning_unless_the_client_asks_for_something_else() {
        let deleted = Document { is_deleted: true, ..modified("2026-01-01T00:00:00.0000000+00:00") };
        let since = Some(time("2025-06-01T00:00:00Z"));
        let [neither, history, marked] = [(false, false), (true, false), (true, true)].map(|(history, deleted)| {
            Asked { associated: Associated { history, deleted, provenance: None }, ..Asked::default() }
        });
        for (asked, expected) in [
            (neither.clone(), false),
            (Asked { since, ..neither }, true),
            // Of what is in its files, an older version would look like what the resource is now.
            (Asked { since, ..history }, false),
            (marked.clone(), true),
            (Asked { since, ..marked }, true),
        ] {
            let window = Window::new(&asked, time("2026-06-01T00:00:00Z"));
            assert_eq!(window.spelled().holds(&deleted), expected, "{asked:?}");
        }
    }

    #[test]
    fn a_time_of_another_form_is_kept() {
        let window = Window::up_to(time("2020-01-01T00:00:00Z"));
        assert!(window.spelled().holds(&modified("2026-01-01T00:00:00Z")) && window.spelled().holds(&modified("")));
    }
}
