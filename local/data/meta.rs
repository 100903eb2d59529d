//! The text of a resource as it was stored in each era of `meta`, and as an export must show it.
//!
//! Both texts are written from the same pieces; neither is derived from the other. So the lines that they give are a
//! second opinion on the rules by which the exporter edits `meta`.

use time::{Duration, OffsetDateTime};

use super::json::{self, Object};
use super::random::Random;
use super::resources::Draft;

/// When a document was written decides what its `meta` looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// The server left version and time out of the stored text.
    LeftOut,
    /// A create stored both, an update left the wrong version or none and said so.
    HalfSet,
    /// Both are stored and right.
    Set,
}

/// The two texts of one version of a resource.
pub struct Texts {
    pub stored: String,
    /// As exported, on one line.
    pub line: String,
    /// `rawResource.isMetaSet`, absent in the first era.
    pub is_meta_set: Option<bool>,
}

impl Era {
    pub fn any(random: &mut Random) -> Era {
        match random.below(100) {
            0..20 => Era::LeftOut,
            20..40 => Era::HalfSet,
            _ => Era::Set,
        }
    }

    /// The years in which a deployment that was upgraded twice wrote in this way.
    pub fn span(self, latest: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
        let before = |days| latest - Duration::days(days);
        match self {
            Era::LeftOut => (before(2400), before(1600)),
            Era::HalfSet => (before(1600), before(1420)),
            Era::Set => (before(1420), latest),
        }
    }
}

/// What stands in the stored text where the line has version and time.
enum Stored {
    Nothing,
    Both,
    /// The version is that of the first write.
    FirstVersion,
    TimeOnly,
}

/// Both texts of a version of a resource. `updated` is `meta.lastUpdated` in the spelling of the server.
pub fn texts(draft: &Draft, era: Era, version: &str, updated: &str, random: &mut Random) -> Texts {
    let stored = match era {
        Era::LeftOut => Stored::Nothing,
        Era::HalfSet if version == "1" => Stored::Both,
        Era::HalfSet if random.per_cent(50) => Stored::FirstVersion,
        Era::HalfSet => Stored::TimeOnly,
        Era::Set => Stored::Both,
    };
    let is_meta_set = match stored {
        Stored::Nothing => None,
        Stored::Both => Some(true),
        Stored::FirstVersion | Stored::TimeOnly => Some(false),
    };
    let (in_store, in_line) = metas(&stored, version, updated, &labels(draft, random), random);
    let place = if random.per_cent(12) { Place::Last } else { Place::AfterId };
    // Some loaders stored text that spans lines. An export breaks a line only between resources.
    let joint = if random.per_mille(1) { ",\r\n" } else { "," };
    Texts {
        stored: resource(draft, in_store.as_deref(), place, joint),
        // A text without `meta` gets it as the last field.
        line: resource(draft, Some(&in_line), if in_store.is_none() { Place::Last } else { place }, ","),
        is_meta_set,
    }
}

#[derive(Clone, Copy)]
enum Place {
    AfterId,
    Last,
}

fn resource(draft: &Draft, meta: Option<&str>, place: Place, joint: &str) -> String {
    let mut text = String::with_capacity(draft.fields.len() + 400);
    text.push_str(&format!("{{\"resourceType\":\"{}\"{joint}\"id\":\"{}\"", draft.resource_type, draft.id));
    let meta = meta.map(|fields| format!("{joint}\"meta\":{{{fields}}}")).unwrap_or_default();
    let fields = [joint, draft.fields.as_str()];
    match place {
        Place::AfterId => text.extend([meta.as_str(), fields[0], fields[1]]),
        Place::Last => text.extend([fields[0], fields[1], meta.as_str()]),
    }
    text.push('}');
    text
}

/// The fields of `meta` in the stored text (none: it has no `meta`) and in the line.
fn metas(stored: &Stored, version: &str, updated: &str, labels: &str, random: &mut Random) -> (Option<String>, String) {
    let set = |o: &mut Object, version: &str| _ = o.string("versionId", version).string("lastUpdated", updated);
    let appended = |o: &mut Object| _ = o.string("lastUpdated", updated).string("versionId", version);
    match stored {
        Stored::Nothing => {
            let line = json::fields(|o| appended(o.spread(labels)));
            ((!labels.is_empty()).then(|| labels.to_owned()), line)
        }
        Stored::Both => {
            let line = json::fields(|o| {
                set(o, version);
                o.spread(labels);
            });
            (Some(line.clone()), line)
        }
        Stored::FirstVersion if random.per_cent(50) => {
            let with = |version: &str| {
                json::fields(|o| {
                    set(o, version);
                    o.spread(labels);
                })
            };
            (Some(with("1")), with(version))
        }
        Stored::FirstVersion => {
            // The time is the right one, in a spelling that the server does not use.
            let with = |updated: &str, version: &str| {
                json::fields(|o| _ = o.spread(labels).string("lastUpdated", updated).string("versionId", version))
            };
            (Some(with(&updated.replace("+00:00", "Z"), "1")), with(updated, version))
        }
        Stored::TimeOnly => {
            let stored = json::fields(|o| _ = o.string("lastUpdated", updated).spread(labels));
            let line =
                json::fields(|o| _ = o.string("lastUpdated", updated).spread(labels).string("versionId", version));
            (Some(stored), line)
        }
    }
}

/// What a client put into `meta`: profile, tags, labels; often nothing.
fn labels(draft: &Draft, random: &mut Random) -> String {
    json::fields(|o| {
        if random.per_cent(20) {
            let profile = format!("https://hospital.example.org/StructureDefinition/clinic-{}", draft.resource_type);
            o.list("profile", |l| _ = l.string(&profile));
        }
        if random.per_cent(3) {
            o.list("security", |l| {
                l.object(|o| {
                    o.string("system", "http://terminology.hl7.org/CodeSystem/v3-Confidentiality")
                        .string("code", "R")
                        .string("display", "restricted");
                });
            });
        }
        if random.per_cent(8) {
            // A field of the same name and value inside a tag is not the version of the resource.
            o.list("tag", |l| {
                l.object(|o| {
                    o.string("system", "https://hospital.example.org/tags")
                        .string("version", "1")
                        .string("code", "imported")
                        .string("display", "\"versionId\":\"1\", imported {nightly}");
                });
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2021-05-01T10:00:00.5+00:00";

    fn pair(stored: Stored, labels: &str, seed: usize) -> (Option<String>, String) {
        metas(&stored, "3", AT, labels, &mut Random::of(1, "meta", seed))
    }

    #[test]
    fn a_missing_meta_is_appended_as_the_last_field() {
        let draft = Draft::write("Basic", "b".into(), |o, _| _ = o.string("language", "en"));
        assert_eq!(pair(Stored::Nothing, "", 0), (None, format!(r#""lastUpdated":"{AT}","versionId":"3""#)));
        let found = (0..200).find_map(|n| {
            let texts = texts(&draft, Era::LeftOut, "3", AT, &mut Random::of(1, "text", n));
            (!texts.stored.contains("meta")).then_some(texts)
        });
        let texts = found.unwrap();
        assert_eq!(texts.is_meta_set, None);
        assert_eq!(texts.stored, r#"{"resourceType":"Basic","id":"b","language":"en"}"#);
        let meta = format!(r#""meta":{{"lastUpdated":"{AT}","versionId":"3"}}"#);
        assert_eq!(texts.line, format!(r#"{{"resourceType":"Basic","id":"b","language":"en",{meta}}}"#));
    }

    #[test]
    fn labels_stay_in_front_of_what_is_appended() {
        let labels = r#""profile":["p"]"#;
        let (stored, line) = pair(Stored::Nothing, labels, 0);
        assert_eq!(stored.unwrap(), labels);
        assert_eq!(line, format!(r#""profile":["p"],"lastUpdated":"{AT}","versionId":"3""#));
        let (stored, line) = pair(Stored::TimeOnly, labels, 0);
        assert_eq!(stored.unwrap(), format!(r#""lastUpdated":"{AT}","profile":["p"]"#));
        assert_eq!(line, format!(r#""lastUpdated":"{AT}","profile":["p"],"versionId":"3""#));
    }

    #[test]
    fn a_wrong_version_is_replaced_where_it_stands() {
        let seen: std::collections::BTreeSet<_> = (0..20).map(|n| pair(Stored::FirstVersion, "", n)).collect();
        assert_eq!(seen.len(), 2, "both orders occur");
        for (stored, line) in seen {
            let rewritten = stored.unwrap().replace(r#""versionId":"1""#, r#""versionId":"3""#).replace('Z', "+00:00");
            assert_eq!(rewritten, line);
        }
    }

    #[test]
    fn a_set_meta_is_the_same_in_store_and_line() {
        let draft = Draft::write("Basic", "b".into(), |o, _| _ = o.string("language", "en"));
        for n in 0..200 {
            let texts = texts(&draft, Era::Set, "7", AT, &mut Random::of(1, "text", n));
            assert_eq!(texts.stored.replace("\r\n", ""), texts.line);
            assert_eq!(texts.is_meta_set, Some(true));
        }
    }
}
