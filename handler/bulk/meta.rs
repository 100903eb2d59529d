//! `meta` of a line: `lastUpdated` and `versionId` of the wrapper, set in the text where it stands, as the server sets them on
//! every read (`facts`: the Cosmos store, §1.4).

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::document::Document;
use super::line::{Flaw, Present, object, span};
use super::paths::NotJson;
use super::proved::Proved;
use super::timestamp::Timestamp;

/// Sets `meta` in the text that stands in `out` from `start` on, an object in which `meta` stands at this place, if there is
/// one. Members that are there are replaced where they stand, the others appended in the order in which the server has them.
pub fn set(out: &mut Vec<u8>, start: usize, meta: Option<usize>, document: &Document) -> Result<(), Flaw> {
    set_by(Inside::of, out, (start, meta), document)
}

/// The same in a text that is proved ([`Proved`]). It costs no allocation.
pub fn set_in_proved(out: &mut Vec<u8>, start: usize, meta: Option<usize>, document: &Document) -> Result<(), Flaw> {
    set_by(Inside::of_proved, out, (start, meta), document)
}

fn set_by(
    look: impl Fn(&[u8], usize) -> Result<Option<Inside>, Flaw>,
    out: &mut Vec<u8>,
    (start, meta): (usize, Option<usize>),
    document: &Document,
) -> Result<(), Flaw> {
    let shown = Shown::of(document)?;
    let changes = changes(look, &out[start..], meta)?;
    for Change { span, puts } in changes.into_iter().flatten().rev() {
        // What is new is written behind the text, and brought from there to its place.
        let (from, to, end) = (start + span.start, start + span.end, out.len());
        puts.append_to(out, &shown)?;
        let new = out.len() - end;
        out[to..].rotate_right(new);
        out.drain(from..to);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    LastUpdated,
    VersionId,
}

const BOTH: &[Member] = &[Member::LastUpdated, Member::VersionId];

/// Something new in place of what stands in this span.
struct Change {
    span: Range<usize>,
    puts: Puts,
}

enum Puts {
    /// The value of a member, whose name is there.
    Value(Member),
    /// Members with their names, between these.
    Members(&'static str, &'static [Member], &'static str),
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(rename = "lastUpdated", default, borrow)]
    last_updated: Present<'a>,
    #[serde(rename = "versionId", default, borrow)]
    version_id: Present<'a>,
}

/// What stands in `meta`, by its places in the text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Inside {
    last_updated: Option<Range<usize>>,
    version_id: Option<Range<usize>>,
    has_members: bool,
    /// Where the brace stands that closes it.
    end: usize,
}

const NULL: &str = "null";

impl Inside {
    /// Of the `meta` at this place; `None` if it is null.
    fn of(text: &[u8], at: usize) -> Result<Option<Self>, Flaw> {
        let mut values = serde_json::Deserializer::from_slice(&text[at..]).into_iter::<&RawValue>();
        let meta = values.next().and_then(Result::ok).map(RawValue::get).ok_or(Flaw::NotJson)?;
        if meta == NULL {
            return Ok(None);
        }
        let Meta { last_updated, version_id } = object(meta)?;
        let place = |member: Present| {
            let span = span(meta, member.0?);
            Some(at + span.start..at + span.end)
        };
        let (last_updated, version_id) = (place(last_updated), place(version_id));
        let has_members = !meta[1..meta.len() - 1].trim().is_empty();
        Ok(Some(Self { last_updated, version_id, has_members, end: at + meta.len() - 1 }))
    }

    fn of_proved(text: &[u8], at: usize) -> Result<Option<Self>, Flaw> {
        if text[at..].starts_with(NULL.as_bytes()) {
            return Ok(None);
        }
        let text = Proved::new(text);
        if !text.begins_object(at) {
            return Err(Flaw::NotJson);
        }
        let mut inside = Self::default();
        let end = text.members(at, |name, value| {
            let place = value..text.end(value)?;
            let end = place.end;
            inside.has_members = true;
            let before = match name {
                b"lastUpdated" => inside.last_updated.replace(place),
                b"versionId" => inside.version_id.replace(place),
                _ => None,
            };
            if before.is_none() { Ok(end) } else { Err(NotJson) }
        });
        inside.end = end.map_err(|NotJson| Flaw::NotJson)? - 1;
        Ok(Some(inside))
    }
}

/// In ascending order. There are never more: either a member is replaced, or it is among those that are appended.
fn changes(
    look: impl Fn(&[u8], usize) -> Result<Option<Inside>, Flaw>,
    text: &[u8],
    meta: Option<usize>,
) -> Result<[Option<Change>; 2], Flaw> {
    let only = |span, puts| Ok([Some(Change { span, puts }), None]);
    let Some(at) = meta else {
        // Before the closing brace, which is the last byte; resourceType stands before it.
        let end = text.len() - 1;
        return only(end..end, Puts::Members(",\"meta\":{", BOTH, "}"));
    };
    let Some(Inside { last_updated, version_id, has_members, end }) = look(text, at)? else {
        return only(at..at + NULL.len(), Puts::Members("{", BOTH, "}"));
    };
    let replaced = |member, span| Some(Change { span, puts: Puts::Value(member) });
    let appended = |members| {
        let comma = if has_members { "," } else { "" };
        Some(Change { span: end..end, puts: Puts::Members(comma, members, "") })
    };
    Ok(match (last_updated, version_id) {
        (None, None) => [appended(BOTH), None],
        (Some(time), None) => [replaced(Member::LastUpdated, time), appended(&[Member::VersionId])],
        (None, Some(version)) => [replaced(Member::VersionId, version), appended(&[Member::LastUpdated])],
        (Some(time), Some(version)) => {
            let time_is_first = time.start < version.start;
            let [time, version] = [replaced(Member::LastUpdated, time), replaced(Member::VersionId, version)];
            if time_is_first { [time, version] } else { [version, time] }
        }
    })
}

impl Puts {
    fn append_to(&self, out: &mut Vec<u8>, shown: &Shown<'_>) -> Result<(), Flaw> {
        match *self {
            Puts::Value(member) => shown.append_value(member, out),
            Puts::Members(before, members, behind) => {
                out.extend_from_slice(before.as_bytes());
                for (number, member) in members.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    let name: &[u8] = match member {
                        Member::LastUpdated => b"\"lastUpdated\":",
                        Member::VersionId => b"\"versionId\":",
                    };
                    out.extend_from_slice(name);
                    shown.append_value(*member, out)?;
                }
                out.extend_from_slice(behind.as_bytes());
                Ok(())
            }
        }
    }
}

/// What the wrapper says, as the server shows it.
struct Shown<'d> {
    /// `2025-03-02T09:15:42.118`, in UTC.
    time: Cow<'d, str>,
    version: &'d str,
}

impl<'d> Shown<'d> {
    fn of(document: &'d Document) -> Result<Self, Flaw> {
        let version = document.shown_version().ok_or(Flaw::NoMeta)?;
        Ok(Self { time: time(&document.last_modified)?, version })
    }

    /// As JSON.
    fn append_value(&self, member: Member, out: &mut Vec<u8>) -> Result<(), Flaw> {
        match member {
            Member::LastUpdated => {
                for part in ["\"", &*self.time, "+00:00\""] {
                    out.extend_from_slice(part.as_bytes());
                }
                Ok(())
            }
            // A string always can be written.
            Member::VersionId => serde_json::to_writer(out, self.version).map_err(|_| Flaw::NoMeta),
        }
    }
}

/// `2025-03-02T09:15:42.1180000+00:00` → `2025-03-02T09:15:42.118`: as the server spells it, without trailing zeros.
fn time(last_modified: &str) -> Result<Cow<'_, str>, Flaw> {
    let at = Timestamp::parse(last_modified).map_err(|_| Flaw::NoMeta)?;
    // Nearly always it is spelled as the store spells it.
    let is_usual = match last_modified.as_bytes() {
        [_, _, _, _, _, _, _, _, _, _, b'T', .., b'.', _, _, _, _, _, _, _, b'+', b'0', b'0', b':', b'0', b'0'] => {
            last_modified.len() == 33
        }
        _ => false,
    };
    Ok(match is_usual {
        true => Cow::Borrowed(without_zeros(last_modified)),
        false => Cow::Owned(without_zeros(&at.last_modified()).to_owned()),
    })
}

/// Of a time in the store's spelling.
fn without_zeros(spelled: &str) -> &str {
    spelled[..27].trim_end_matches('0').trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;

    #[test]
    fn a_proved_text_is_looked_into_as_any_other() {
        for (meta, known) in [
            ("{}", true),
            ("null", true),
            (r#"{"profile":["a","b"]}"#, true),
            (r#"{"lastUpdated":"2025-04-01T00:00:00Z","versionId":"7"}"#, true),
            (r#"{"tag":[{"code":"x"}],"versionId":7,"source":"\"}","lastUpdated":{"a":[]}}"#, true),
            (r#"{"versionId":null}"#, true),
            (r#"{"version\u0049d":"1","security":[]}"#, true),
            (r#"{"extension":[{"versionId":"1"}]}"#, true),
            (r#"{"versionId":"1","versionId":"2"}"#, false),
            (r#"[{"versionId":"1"}]"#, false),
            ("7", false),
            (r#""x""#, false),
        ] {
            let text = format!(r#"{{"resourceType":"Patient","id":"a","meta":{meta},"active":true}}"#);
            let at = Shape::of(text.as_bytes()).and_then(|shape| shape.meta).expect(meta);
            let inside = Inside::of(text.as_bytes(), at);
            assert_eq!(inside.is_ok(), known, "{meta}");
            assert_eq!(Inside::of_proved(text.as_bytes(), at), inside, "{meta}");
        }
    }

    #[test]
    fn times_are_spelled_as_the_server_spells_them() {
        for (stored, shown) in [
            ("2025-04-01T00:00:00.0000000+00:00", "2025-04-01T00:00:00"),
            ("2025-04-01T10:20:30.0000000+00:00", "2025-04-01T10:20:30"),
            ("2025-04-01T10:20:30.1000000+00:00", "2025-04-01T10:20:30.1"),
            ("2025-04-01T10:20:30.0120000+00:00", "2025-04-01T10:20:30.012"),
            ("2025-04-01T10:20:30.1234567+00:00", "2025-04-01T10:20:30.1234567"),
            ("2025-04-01T10:20:30Z", "2025-04-01T10:20:30"),
            ("2025-04-01T12:20:30.5+02:00", "2025-04-01T10:20:30.5"),
            ("2025-04-01t10:20:30.1230000+00:00", "2025-04-01T10:20:30.123"),
        ] {
            assert_eq!(time(stored).unwrap(), shown);
        }
        assert_eq!(time("yesterday"), Err(Flaw::NoMeta));
    }
}
