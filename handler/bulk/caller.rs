//! Who asks: under which name exports are kept apart, and what the caller may do.

use sha2::{Digest, Sha256};

use super::job::Job;
use super::secret::Secret;

/// Whoever a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Stands in job documents and records: no secret, and the same for every request of this caller.
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The host let the request in; callers are told apart by the key that they presented, if there was one.
    OfTheHost,
}

/// So many bytes of a key's digest tell the few keys of an app apart. They fit to one key in sixteen million: who finds
/// them in a document cannot tell from them whether a guess at a weak key is right.
const DIGEST: usize = 3;

impl Caller {
    /// Someone whom the host let in without a key.
    pub fn without_key() -> Self {
        Self { name: String::new(), kind: Kind::OfTheHost }
    }

    /// Someone whom the host let in with this key. The key's name would be better, but the host keeps it to itself.
    pub fn with_key(key: &Secret) -> Self {
        let digest = Sha256::new().chain_update("fhir-export caller\n").chain_update(key.reveal()).finalize();
        let digest: String = digest[..DIGEST].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("key-{digest}"), kind: Kind::OfTheHost }
    }

    /// The name under which exports are kept; empty where callers are not told apart.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether an administrator asks: someone who may see and end the exports of everybody.
    pub fn is_administrator(&self) -> bool {
        match self.kind {
            Kind::OfTheHost => false,
        }
    }

    /// Whether this export exists for the caller. To all others it is as if it did not.
    pub fn sees(&self, job: &Job) -> bool {
        match self.kind {
            // One that belongs to nobody was started when keys were not told apart.
            Kind::OfTheHost => job.caller == self.name || job.caller.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::asked::Asked;
    use super::super::destination::Destination;
    use super::super::job_id::JobId;
    use super::super::timestamp::Timestamp;
    use super::*;

    fn job_of(caller: &Caller) -> Job {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let job = Job::accepted(JobId::new(1), Asked::default(), Destination::Default, now, Duration::ZERO);
        Job { caller: caller.name().into(), ..job }
    }

    #[test]
    fn keys_are_told_apart_by_a_name_that_tells_nothing_of_them() {
        let [alice, bob] = ["alices-key", "bobs-key"].map(|key| Caller::with_key(&Secret::new(key)));
        assert_eq!(alice, Caller::with_key(&Secret::new("alices-key")));
        assert_ne!(alice.name(), bob.name());
        assert_eq!(alice.name().len(), "key-123456".len());
        assert!(!alice.is_administrator());
    }

    #[test]
    fn an_export_exists_for_the_key_that_started_it() {
        let [alice, bob] = ["alices-key", "bobs-key"].map(|key| Caller::with_key(&Secret::new(key)));
        let nobody = Caller::without_key();
        let sees = |caller: &Caller| [&alice, &bob, &nobody].map(|owner| caller.sees(&job_of(owner)));
        assert_eq!(sees(&alice), [true, false, true]);
        assert_eq!(sees(&bob), [false, true, true]);
        assert_eq!(sees(&nobody), [false, false, true]);
    }
}
