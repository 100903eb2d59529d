//! References between resources of the store.

use memchr::memchr;

use super::resource_id::is_id;
use super::resource_type::ResourceType;

/// Type and id of what a reference leads to (PC-05): relative, or below the base, in any version. One that is contained, has
/// no address yet or lies on another server leads to nothing here.
pub fn local<'r>(reference: &'r str, base: &str) -> Option<(&'r str, &'r str)> {
    local_of(reference, base, ResourceType::is_name)
}

/// The same, of the types that are wanted: most references lead to others, which is seen at the first glance.
pub fn local_of<'r>(reference: &'r str, base: &str, wanted: impl FnOnce(&str) -> bool) -> Option<(&'r str, &'r str)> {
    let below_base = reference.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    let (resource_type, rest) = cut(below_base.unwrap_or(reference))?;
    if !wanted(resource_type) {
        return None;
    }
    // Nothing is near behind most ids.
    let (id, version) = match memchr(b'/', rest.as_bytes()) {
        None => (rest, None),
        Some(slash) => (&rest[..slash], Some(rest[slash + 1..].strip_prefix("_history/")?)),
    };
    (is_id(id) && version.is_none_or(is_id)).then_some((resource_type, id))
}

/// What is before and behind the slash of a type. It is near: a plain loop finds it sooner than a search for long texts.
fn cut(text: &str) -> Option<(&str, &str)> {
    let slash = text.bytes().position(|byte| byte == b'/')?;
    Some((&text[..slash], &text[slash + 1..]))
}
