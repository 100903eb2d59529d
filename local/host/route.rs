//! Route templates of HTTP functions, matched as ASP.NET Core matches them.

use anyhow::{Context, Result, bail, ensure};

/// A route such as `Group/{id}/$export`: literals without regard to case, `{name}` for one segment, `{*name}` for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As written, without outer slashes; two functions conflict when these are equal ignoring case.
    pub text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter,
    Rest,
}

impl Template {
    pub fn parse(route: &str) -> Result<Self> {
        let text = route.trim_matches('/').to_owned();
        let segments: Vec<_> =
            split(&text).map(segment).collect::<Result<_>>().with_context(|| format!("route {route:?}"))?;
        let rest = segments.iter().position(|s| *s == Segment::Rest);
        ensure!(rest.is_none_or(|at| at + 1 == segments.len()), "route {route:?}: a catch-all must be last");
        Ok(Self { text, segments })
    }

    /// Puts the route prefix of `host.json` in front.
    pub fn below(&self, prefix: &str) -> Self {
        let mut segments: Vec<_> = split(prefix).map(|s| Segment::Literal(s.to_owned())).collect();
        segments.extend(self.segments.iter().cloned());
        Self { text: self.text.clone(), segments }
    }

    /// Whether a request path, still percent-encoded, is of this route.
    pub fn matches(&self, path: &str) -> bool {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut given = split(path).map(decoded);
        for segment in &self.segments {
            match (segment, given.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(literal), Some(text)) if literal.to_lowercase() == text.to_lowercase() => {}
                (Segment::Parameter, Some(text)) if !text.is_empty() => {}
                (Segment::Literal(_) | Segment::Parameter, _) => return false,
            }
        }
        given.next().is_none()
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(usize::from(path.is_empty()))
}

fn segment(text: &str) -> Result<Segment> {
    if !text.contains(['{', '}', '*', '?']) {
        ensure!(!text.is_empty(), "empty segment");
        return Ok(Segment::Literal(text.to_owned()));
    }
    let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
        bail!("segment {text:?} mixes literal and parameter, which the stand-in does not support");
    };
    let (segment, name) = match name.strip_prefix('*') {
        Some(name) => (Segment::Rest, name.trim_start_matches('*')),
        None => (Segment::Parameter, name),
    };
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    ensure!(plain, "segment {text:?}: constraints, defaults and optional parameters are not supported by the stand-in");
    Ok(segment)
}

/// Decodes `%XX` except `%2F`, which the web server leaves alone so that it never becomes a separator.
pub fn decoded(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) if byte != b'/' => {
                out.push(byte);
                at += 3;
            }
            Some(_) | None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The path as the host sends it on: decoded and encoded again, so that `%24export` reaches the handler as `$export`.
pub fn canonical(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let decoded = decoded(path);
    for (at, byte) in decoded.bytes().enumerate() {
        let keeps = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
        if keeps || (byte == b'%' && is_slash_escape(&decoded.as_bytes()[at..])) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn is_slash_escape(bytes: &[u8]) -> bool {
    bytes.get(..3).is_some_and(|escape| escape.eq_ignore_ascii_case(b"%2f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(route: &str, path: &str) -> bool {
        Template::parse(route).unwrap().matches(path)
    }

    #[test]
    fn literals_ignore_case_and_percent_encoding_and_one_trailing_slash() {
        for path in ["/Patient/$export", "/patient/$EXPORT", "/Patient/%24export", "/Patient/$export/"] {
            assert!(matches("Patient/$export", path), "{path}");
        }
        for path in ["/Patient", "/Patient/$export/1", "/Patient//$export", "/Patient/$export//", "/", "/ExportWorker"]
        {
            assert!(!matches("Patient/$export", path), "{path}");
        }
    }

    #[test]
    fn a_parameter_is_one_segment_that_is_not_empty() {
        assert!(matches("Group/{id}/$export", "/Group/a%20b/$export"));
        assert!(matches("Group/{id}/$export", "/Group/a%2Fb/$export"));
        assert!(!matches("Group/{id}/$export", "/Group//$export"));
        assert!(!matches("Group/{id}/$export", "/Group/a/b/$export"));
        assert!(matches("{*path}", "/a/b/c") && matches("a/{*path}", "/a"));
    }

    #[test]
    fn the_prefix_comes_first() {
        let template = Template::parse("$export").unwrap().below("fhir/r4");
        assert!(template.matches("/FHIR/r4/$export") && !template.matches("/$export"));
    }

    #[test]
    fn what_the_stand_in_cannot_match_is_refused() {
        for route in ["a/{id:int}", "a/{id?}", "a-{id}", "{*rest}/b", "a//b", "{}"] {
            assert!(Template::parse(route).is_err(), "{route}");
        }
    }

    #[test]
    fn a_path_is_sent_on_in_one_spelling() {
        assert_eq!(canonical("/Group/a%20b%2fc/%24export"), "/Group/a%20b%2fc/$export");
        assert_eq!(canonical("/%C3%A4/100%25"), "/%C3%A4/100%25");
    }
}
