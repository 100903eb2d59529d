//! What resources can be searched by: the search parameters of FHIR, with the elements that they look at (TF-12).
//!
//! `parameters.txt` has a line for each: the releases in which it is so (4 for R4, B for R4B, 5 for R5), its code, its kind,
//! and the paths of its elements. A composite has first where its parts are together, and then the kind and the paths of
//! each part. Not in it are those that no path leads to, and what beside paths they would need (`phonetic`, `near`, the
//! parameters of related artifacts by their type, and those of extensions); and sampled data, which has no one value.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::super::release::Release;

/// A search parameter of one type, or of all.
#[derive(Debug)]
pub struct Parameter {
    pub code: &'static str,
    /// Where its elements are sought together; nowhere in particular but in the resource, where the path is empty.
    pub contexts: Vec<&'static str>,
    /// One, or those of a composite.
    pub elements: Vec<Element>,
}

#[derive(Debug)]
pub struct Element {
    pub kind: Kind,
    pub paths: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Token,
    /// A token that says whether there is an element, other than `false`.
    Exists,
    /// A number or an address of a contact, perhaps of one kind alone. What its system is, is its kind, and not asked for.
    Contact(Option<&'static str>),
    /// A reference, perhaps one to resources of a certain type alone; or a canonical URL.
    Reference(Option<&'static str>),
    Date,
    Uri,
    Text,
    Number,
    Quantity,
}

impl Parameter {
    /// `SearchParameter.type`.
    pub fn kind(&self) -> &'static str {
        match self.elements[..] {
            [Element { kind, .. }] => kind.name(),
            _ => "composite",
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Token | Kind::Exists | Kind::Contact(_) => "token",
            Kind::Reference(_) => "reference",
            Kind::Date => "date",
            Kind::Uri => "uri",
            Kind::Text => "string",
            Kind::Number => "number",
            Kind::Quantity => "quantity",
        }
    }
}

/// Parameters that shape the answer of a search (TF-02).
pub const RESULT: [&str; 11] = [
    "_sort",
    "_count",
    "_include",
    "_revinclude",
    "_summary",
    "_total",
    "_elements",
    "_contained",
    "_containedType",
    "_format",
    "_pretty",
];

/// What resources of a type can be searched by in a release.
pub fn of(release: Release, resource_type: &str) -> impl Iterator<Item = &'static Parameter> {
    let all = [ALL, resource_type].into_iter().filter_map(|name| TABLE.get(name)).flatten();
    all.filter(move |(releases, _)| releases.contains(mark(release))).map(|(_, parameter)| parameter)
}

pub fn find(release: Release, resource_type: &str, code: &str) -> Option<&'static Parameter> {
    of(release, resource_type).find(|parameter| parameter.code == code)
}

/// What a line begins with, among others, that is of the release.
fn mark(release: Release) -> char {
    match release {
        Release::R4 => '4',
        Release::R4B => 'B',
        Release::R5 => '5',
    }
}

/// In place of the name of a type.
const ALL: &str = "*";

/// By type, the releases of each parameter and what it is there.
type Table = BTreeMap<&'static str, Vec<(&'static str, Parameter)>>;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let (mut table, mut of) = (Table::new(), ALL);
    for line in include_str!("parameters.txt").lines() {
        match line.split_once(' ') {
            None => of = line,
            Some((releases, parameter)) => {
                let read = read(parameter).map(|parameter| (releases, parameter));
                table.entry(of).or_default().extend(read);
            }
        }
    }
    table
});

/// `code kind path,path…`, or `code composite context,context kind:path,path… kind:path…`.
fn read(line: &'static str) -> Option<Parameter> {
    let mut words = line.split(' ');
    let (code, kind, paths) = (words.next()?, words.next()?, words.next()?);
    if kind != "composite" {
        return Some(Parameter { code, contexts: vec![""], elements: vec![element(kind, paths)?] });
    }
    let contexts = paths.split(',').map(|path| if path == "." { "" } else { path }).collect();
    let elements: Option<Vec<_>> =
        words.map(|part| part.split_once(':').and_then(|(kind, paths)| element(kind, paths))).collect();
    Some(Parameter { code, contexts, elements: elements? })
}

fn element(kind: &'static str, paths: &'static str) -> Option<Element> {
    let (name, of) = match kind.strip_suffix(')').and_then(|kind| kind.split_once('(')) {
        Some((name, of)) => (name, Some(of)),
        None => (kind, None),
    };
    // Of a name and an address each part is searched.
    let (kind, parts) = match name {
        "token" => (Kind::Token, &[][..]),
        "exists" => (Kind::Exists, &[][..]),
        "contact" => (Kind::Contact(of), &[][..]),
        "reference" => (Kind::Reference(of), &[][..]),
        "date" => (Kind::Date, &[][..]),
        "uri" => (Kind::Uri, &[][..]),
        "string" => (Kind::Text, &[][..]),
        "name" => (Kind::Text, &["family", "given", "prefix", "suffix", "text"][..]),
        "address" => (Kind::Text, &["city", "country", "district", "line", "postalCode", "state", "text"][..]),
        "number" => (Kind::Number, &[][..]),
        "quantity" => (Kind::Quantity, &[][..]),
        _ => return None,
    };
    let paths = paths.split(',').flat_map(|path| match parts {
        [] => vec![path.to_owned()],
        parts => parts.iter().map(|part| format!("{path}.{part}")).collect(),
    });
    Some(Element { kind, paths: paths.collect() })
}

#[cfg(test)]
mod tests {
    use super::super::super::resource_type::ResourceType;
    use super::*;

    #[test]
    fn every_line_is_understood_and_of_a_type_that_there_is() {
        let lines = || include_str!("parameters.txt").lines();
        for line in lines() {
            match line.split_once(' ') {
                None => assert!(line == ALL || ResourceType::parse(line).unwrap().known(), "{line}"),
                Some((releases, parameter)) => {
                    assert!(["4", "B", "5", "4B", "B5", "4B5"].contains(&releases), "{line}");
                    assert!(read(parameter).is_some_and(|read| !read.elements.is_empty()), "{line}");
                }
            }
        }
        let types: Vec<&str> = lines().filter(|line| !line.contains(' ')).collect();
        assert!(types.windows(2).all(|pair| pair[0] < pair[1]));
        for (of, release) in types.iter().flat_map(|of| Release::ALL.map(|release| (*of, release))) {
            let own = TABLE[of].iter().filter(|(releases, _)| releases.contains(mark(release)));
            let codes: Vec<_> = own.map(|(_, parameter)| parameter.code).collect();
            assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{of} {release:?}: {codes:?}");
            let is_of = of == ALL || ResourceType::parse(of).unwrap().is_of(release);
            assert!(is_of || codes.is_empty(), "{of} {release:?}: {codes:?}");
        }
        assert!(find(Release::R4, "Basic", "_id").is_some() && find(Release::R4, "Basic", "category").is_none());
    }

    #[test]
    fn the_table_has_what_clients_of_today_search_by() {
        for (of, codes) in [
            ("AllergyIntolerance", "category clinical-status code date identifier patient type"),
            ("CarePlan", "category date encounter intent patient status subject"),
            ("Condition", "category clinical-status code encounter onset-date patient recorded-date subject"),
            ("Encounter", "class date identifier length patient status type"),
            ("MedicationRequest", "authoredon encounter intent patient status"),
            ("Observation", "category code code-value-quantity combo-code-value-concept date patient value-string"),
            ("Patient", "active birthdate deceased email family gender given identifier name phone address-city"),
            ("RiskAssessment", "probability risk"),
            ("DocumentReference", "category date period patient relationship status type"),
        ] {
            for code in codes.split(' ').chain(["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"]) {
                assert!(find(Release::R4, of, code).is_some(), "{of} {code}");
            }
        }
        assert!(find(Release::R4, "Patient", "phonetic").is_none() && find(Release::R4, "Location", "near").is_none());
        let name = &find(Release::R4, "Patient", "name").unwrap().elements[0];
        assert_eq!(name.paths, ["name.family", "name.given", "name.prefix", "name.suffix", "name.text"]);
        let composite = find(Release::R4, "Observation", "combo-code-value-quantity").unwrap();
        assert_eq!((composite.kind(), &composite.contexts[..]), ("composite", &["", "component"][..]));
        assert_eq!(find(Release::R4, "Patient", "email").unwrap().elements[0].kind, Kind::Contact(Some("email")));
    }

    #[test]
    fn each_release_has_its_own_elements() {
        let paths = |release, of, code| find(release, of, code).map(|parameter| parameter.elements[0].paths.clone());
        let one = |path: &str| Some(vec![path.to_owned()]);
        assert_eq!(paths(Release::R4, "Encounter", "date"), one("period"));
        assert_eq!(paths(Release::R5, "Encounter", "date"), one("actualPeriod"));
        assert_eq!(paths(Release::R4, "Consent", "patient"), one("patient"));
        assert_eq!(paths(Release::R5, "Consent", "patient"), one("subject"));
        assert_eq!(paths(Release::R5, "Task", "code"), one("code"));
        assert_eq!((paths(Release::R4, "Patient", "_language"), paths(Release::R5, "Media", "status")), (None, None));
    }
}
