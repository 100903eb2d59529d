//! In which form a client wants to see how it stands with an export, by its `Accept` header.

/// JSON unless the client asks for something else by name, and prefers it: Bulk Data clients see no difference (ST-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Representation {
    /// What the protocol has.
    Json,
    /// A page for a browser.
    Html,
    /// The figures of the page as JSON, for tools that show them in another way.
    Figures,
    /// A URL under which a browser can open the page.
    Link,
}

/// The media type of [`Representation::Figures`].
pub const FIGURES: &str = "application/vnd.fhir-export.figures+json";
/// The media type of [`Representation::Link`].
pub const URI_LIST: &str = "text/uri-list";

impl Representation {
    pub fn of(accept: &str) -> Self {
        let ranges: Vec<(String, f64)> = accept.split(',').map(range).collect();
        let weight = |names: &[&str]| {
            let named = ranges.iter().filter(|(range, _)| names.contains(&range.as_str())).map(|(_, weight)| *weight);
            named.fold(0.0, f64::max)
        };
        let json = weight(&["application/json", "application/fhir+json", "application/*", "*/*"]);
        let others = [(Self::Html, "text/html"), (Self::Figures, FIGURES), (Self::Link, URI_LIST)];
        let preferred = others.into_iter().find(|(_, name)| weight(&[name]) > json);
        preferred.map_or(Self::Json, |(representation, _)| representation)
    }
}

/// A media range in lower case, and its weight. One that cannot be read is worth nothing.
fn range(text: &str) -> (String, f64) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_who_prefers_one() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for accept in [chromium, "text/html", "TEXT/HTML; charset=utf-8", "application/json;q=0.5, text/html;q=0.6"] {
            assert_eq!(Representation::of(accept), Representation::Html, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/fhir+json, text/html",
            "text/html, */*",
            "text/html;q=0.9, application/json",
            "text/html;q=0",
            "text/html;q=nonsense",
            "text/*",
            "application/xml",
            "image/*, text/plain",
        ] {
            assert_eq!(Representation::of(accept), Representation::Json, "{accept}");
        }
        assert_eq!(Representation::of(FIGURES), Representation::Figures);
        assert_eq!(Representation::of("text/uri-list"), Representation::Link);
        assert_eq!(Representation::of(&format!("{FIGURES};q=0.5, application/json")), Representation::Json);
    }
}
