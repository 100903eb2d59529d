//! What steps of this process hold together: once, and for as long as one of them needs it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Values by what they are of.
pub struct Shared<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    pub fn get(&self, of: &K) -> Option<Arc<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(of)?.upgrade()
    }

    pub fn keep(&self, of: K, value: &Arc<V>) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, value| value.strong_count() > 0);
        shared.insert(of, Arc::downgrade(value));
    }
}
