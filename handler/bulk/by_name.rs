//! Something for each of a few names, such as those of resource types: looked up for every document, so it has to be quick.

/// A table whose place for a name follows from its length and three of its bytes; which of the names there it is, all of them tell.
#[derive(Clone, Debug)]
pub struct ByName<T> {
    /// A power of two, twice as many as names at least: each name stands at its place or behind it.
    places: Vec<Option<(String, T)>>,
}

impl<T> ByName<T> {
    /// Of a name that comes twice the first counts.
    pub fn new<N: Into<String>>(all: impl IntoIterator<Item = (N, T)>) -> Self {
        let all: Vec<(String, T)> = all.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let mut places = Vec::new();
        places.resize_with((2 * all.len() + 1).next_power_of_two(), || None);
        let mut table = Self { places };
        for (name, value) in all {
            let at = table.at(&name);
            table.places[at].get_or_insert((name, value));
        }
        table
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        self.places[self.at(name)].as_ref().map(|(_, value)| value)
    }

    /// Where the name stands, or would.
    fn at(&self, name: &str) -> usize {
        let last = self.places.len() - 1;
        let byte = |index: usize| name.as_bytes().get(index).copied().map_or(0, usize::from);
        let (length, middle) = (name.len(), name.len() / 2);
        let mut at = (length + 3 * byte(0) + 7 * byte(middle) + 13 * byte(length.wrapping_sub(2))) & last;
        // There are places that are free.
        while self.places[at].as_ref().is_some_and(|(other, _)| other != name) {
            at = (at + 1) & last;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_has_what_it_was_given(
            all in prop::collection::vec(("[ab]{0,4}", any::<u8>()), 0..60),
            others in prop::collection::vec("[abc]{0,5}", 0..20),
        ) {
            let mut expected = BTreeMap::new();
            for (name, value) in &all {
                expected.entry(name.clone()).or_insert(*value);
            }
            let table = ByName::new(all.iter().map(|(name, value)| (name.as_str(), *value)));
            for name in all.iter().map(|(name, _)| name).chain(&others) {
                prop_assert_eq!(table.get(name), expected.get(name), "{}", name);
            }
        }
    }
}
