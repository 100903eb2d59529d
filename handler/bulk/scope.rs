//! What the bearer of a token may read: SMART scopes at system level, in the grammar of either version (requirements
//! AU-16, AU-17).

use std::collections::BTreeSet;
use std::fmt;

use super::resource_type::ResourceType;

/// What may be read of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    Everything,
    /// Nothing but these types.
    Types(BTreeSet<ResourceType>),
}

impl Reads {
    /// What these scopes let read together. A scope that is not understood adds nothing.
    pub fn of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let mut types = BTreeSet::new();
        for scope in scopes {
            match read_by(scope) {
                Some(Of::Everything) => return Self::Everything,
                Some(Of::Type(name)) => drop(types.insert(name)),
                None => {}
            }
        }
        Self::Types(types)
    }

    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Types(types) if types.is_empty())
    }

    /// Whether an export of these types may be read; `None` is an export of every type.
    pub fn cover(&self, types: Option<&[ResourceType]>) -> bool {
        match (self, types) {
            (Self::Everything, _) => true,
            (Self::Types(_), None) => false,
            (Self::Types(permitted), Some(types)) => types.iter().all(|name| permitted.contains(name)),
        }
    }
}

/// As scopes, in the grammar of version 2.
impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("system/*.rs"),
            Self::Types(types) => {
                let scopes: Vec<_> = types.iter().map(|name| format!("system/{name}.rs")).collect();
                f.write_str(&scopes.join(" "))
            }
        }
    }
}

enum Of {
    Everything,
    Type(ResourceType),
}

/// What a scope lets export, which takes both reading and searching: `system/Type.read` in version 1, `system/Type.rs` in
/// version 2. One with a query is for a part of its type, which an export cannot be cut to: it adds nothing.
fn read_by(scope: &str) -> Option<Of> {
    let (name, permissions) = scope.strip_prefix("system/")?.split_once('.')?;
    let reads = match permissions {
        "read" | "*" => true,
        // Each letter at most once, in this order.
        _ => is_subsequence(permissions, "cruds") && permissions.contains('r') && permissions.contains('s'),
    };
    match name {
        _ if !reads => None,
        "*" => Some(Of::Everything),
        _ => ResourceType::parse(name).ok().filter(ResourceType::known).map(Of::Type),
    }
}

fn is_subsequence(letters: &str, of: &str) -> bool {
    let mut rest = of.chars();
    letters.chars().all(|letter| rest.any(|next| next == letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(scopes: &str) -> String {
        Reads::of(scopes.split(' ')).to_string()
    }

    #[test]
    fn both_grammars_let_read() {
        for (scopes, expected) in [
            ("system/*.read", "system/*.rs"),
            ("system/*.*", "system/*.rs"),
            ("system/*.rs", "system/*.rs"),
            ("system/*.cruds", "system/*.rs"),
            ("system/Patient.read", "system/Patient.rs"),
            ("system/Patient.rs", "system/Patient.rs"),
            ("system/Patient.*", "system/Patient.rs"),
            ("system/Patient.rus", "system/Patient.rs"),
            ("openid system/Patient.rs system/Observation.read", "system/Observation.rs system/Patient.rs"),
            ("system/Patient.rs system/*.rs", "system/*.rs"),
        ] {
            assert_eq!(reads(scopes), expected, "{scopes}");
        }
    }

    #[test]
    fn what_is_not_quite_such_a_scope_lets_read_nothing() {
        for scope in [
            "",
            "system",
            "system/",
            "system/*",
            "system/*.",
            "system/*.r",
            "system/*.s",
            "system/*.write",
            "system/*.cud",
            "system/*.sr",
            "system/*.rss",
            "system/*.rrs",
            "system/*.RS",
            "system/*.Read",
            "system/*.readwrite",
            "System/*.rs",
            " system/*.rs",
            "system/**.rs",
            "system/patient.rs",
            "system/Patients.rs",
            "system/Patient.rs?name=a",
            "system/*.rs?",
            "system/Patient.read?x=y",
            "system/Patient.rs#",
            "system/Patient.rs.rs",
            "user/*.rs",
            "patient/*.read",
            "*/*.rs",
            "https://example.org/system/*.rs",
        ] {
            let reads = Reads::of([scope]);
            assert!(reads.is_nothing(), "{scope}: {reads}");
        }
    }

    #[test]
    fn an_export_of_everything_takes_a_scope_for_everything() {
        let name = |name| ResourceType::parse(name).unwrap();
        let patients = Reads::of(["system/Patient.rs"]);
        assert!(patients.cover(Some(&[name("Patient")])));
        assert!(!patients.cover(Some(&[name("Patient"), name("Observation")])));
        assert!(!patients.cover(None));
        assert!(Reads::of(["system/*.rs"]).cover(None));
    }
}
