//! References between resources of the store.

use super::resource_id::is_id;
use super::resource_type::ResourceType;

/// Type and id of what a reference leads to (PC-05): relative, or below the base, in any version. One that is contained, has
/// no address yet or lies on another server leads to nothing here.
pub fn local<'r>(reference: &'r str, base: &str) -> Option<(&'r str, &'r str)> {
    let below_base = reference.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    let mut parts = below_base.unwrap_or(reference).split('/');
    let (resource_type, id) = (parts.next()?, parts.next()?);
    let (marker, version, rest) = (parts.next(), parts.next(), parts.next());
    let versioned = match (marker, version) {
        (None, None) => true,
        (Some("_history"), Some(version)) => is_id(version) && rest.is_none(),
        (_, _) => false,
    };
    (versioned && is_id(id) && ResourceType::is_name(resource_type)).then_some((resource_type, id))
}
