//! Who asks: under which name exports are kept apart, and what the caller may do.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::asked::Asked;
use super::context::PROVENANCE;
use super::job::Job;
use super::note::{Note, Severity};
use super::rejection::Rejection;
use super::request::parameters::TYPE;
use super::resource_type::ResourceType;
use super::scope::Reads;
use super::secret::Secret;

/// Whoever a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Stands in job documents and records: no secret, and the same for every request of this caller.
    name: String,
    kind: Kind,
    reads: Reads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The host let the request in; callers are told apart by the key that they presented, if there was one.
    OfTheHost,
    /// A client of an authorization server.
    Client,
    /// The same, with the right to see and end the exports of everybody.
    Administrator,
}

/// Whose exports a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    Everybodys,
    OfOne(&'a str),
    /// And those that belong to nobody.
    OfOneOrNobody(&'a str),
}

/// So many bytes of a key's digest tell the few keys of an app apart. They fit to one key in sixteen million: who finds
/// them in a document cannot tell from them whether a guess at a weak key is right.
const DIGEST: usize = 3;

impl Caller {
    /// Someone whom the host let in without a key.
    pub fn without_key() -> Self {
        Self { name: String::new(), kind: Kind::OfTheHost, reads: Reads::Everything }
    }

    /// Someone whom the host let in with this key. The key's name would be better, but the host keeps it to itself.
    pub fn with_key(key: &Secret) -> Self {
        let digest = Sha256::new().chain_update("fhir-export caller\n").chain_update(key.reveal()).finalize();
        let digest: String = digest[..DIGEST].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("key-{digest}"), ..Self::without_key() }
    }

    /// A client as its authorization server knows it.
    pub fn client(name: String, reads: Reads) -> Self {
        Self { name, kind: Kind::Client, reads }
    }

    /// A client that administers this service.
    pub fn administrator(name: String, reads: Reads) -> Self {
        Self { name, kind: Kind::Administrator, reads }
    }

    /// The name under which exports are kept; empty where callers are not told apart.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    pub fn is_administrator(&self) -> bool {
        match self.kind {
            Kind::Administrator => true,
            Kind::OfTheHost | Kind::Client => false,
        }
    }

    /// Whether this export exists for the caller. To all others it is as if it did not.
    pub fn sees(&self, job: &Job) -> bool {
        match self.kind {
            // One that belongs to nobody was started when keys were not told apart.
            Kind::OfTheHost => job.caller == self.name || job.caller.is_empty(),
            Kind::Client => job.caller == self.name,
            Kind::Administrator => true,
        }
    }

    /// Whose exports these are, for who looks for them.
    pub fn whose(&self) -> Whose<'_> {
        match self.kind {
            Kind::OfTheHost => Whose::OfOneOrNobody(&self.name),
            Kind::Client => Whose::OfOne(&self.name),
            Kind::Administrator => Whose::Everybodys,
        }
    }

    /// ST-02: what was exported may be seen by those only who may read all of it, now.
    pub fn check_reading(&self, job: &Job) -> Result<(), Rejection> {
        // Provenance of what is exported comes without being named as a type.
        let beside = ResourceType::parse(PROVENANCE).ok().filter(|_| job.asked.associated.provenance.is_some());
        let covers = self.reads.cover(job.asked.types.as_deref()) && self.reads.cover(Some(beside.as_slice()));
        match covers {
            true => Ok(()),
            false => Err(Rejection::insufficient_scope(
                "The scopes of the token do not cover all types of this export.",
                "system/*.rs",
            )),
        }
    }

    /// DL-08: the same, but an administrator may end what it cannot read.
    pub fn check_ending(&self, job: &Job) -> Result<(), Rejection> {
        match self.kind {
            Kind::Administrator => Ok(()),
            Kind::OfTheHost | Kind::Client => self.check_reading(job),
        }
    }

    /// What is exported of what was asked for: types that the caller may not read are refused if they are named (AU-19),
    /// and left out, with a word, if they are not (AU-20).
    pub fn permitted(&self, asked: Asked) -> Result<Asked, Rejection> {
        let Reads::Types(permitted) = &self.reads else { return Ok(asked) };
        if permitted.is_empty() {
            let told =
                "The token lets its bearer export nothing: a scope like system/*.rs or system/Patient.rs is needed.";
            return Err(Rejection::insufficient_scope(told, "system/*.rs"));
        }
        let provenance = ResourceType::parse(PROVENANCE).ok().filter(|_| asked.associated.provenance.is_some());
        if let Some(provenance) = provenance {
            // It would come without being named.
            refuse_others(&[provenance], permitted)?;
        }
        match &asked.types {
            Some(types) => refuse_others(types, permitted).map(|()| asked),
            None => Ok(reduced(asked, permitted)),
        }
    }
}

fn refuse_others(types: &[ResourceType], permitted: &BTreeSet<ResourceType>) -> Result<(), Rejection> {
    let beyond: BTreeSet<_> = types.iter().filter(|name| !permitted.contains(name)).cloned().collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = beyond.iter().map(ResourceType::as_str).collect();
    let told = format!("The scopes of the token do not cover {}.", names.join(", "));
    Err(Rejection::insufficient_scope(told, &Reads::Types(beyond).to_string()).about(TYPE))
}

fn reduced(asked: Asked, permitted: &BTreeSet<ResourceType>) -> Asked {
    let names: Vec<_> = permitted.iter().map(ResourceType::as_str).collect();
    let told = format!("The export holds only what the scopes of the token cover: {}.", names.join(", "));
    let mut notes = asked.notes;
    notes.push(Note::new(Severity::Information, "suppressed", told).about(TYPE));
    Asked { types: Some(permitted.iter().cloned().collect()), notes, ..asked }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::associated::Associated;
    use super::super::destination::Destination;
    use super::super::job_id::JobId;
    use super::super::telling::Provenance;
    use super::super::timestamp::Timestamp;
    use super::*;

    fn job_of(caller: &Caller, asked: Asked) -> Job {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let job = Job::accepted(JobId::new(1), asked, Destination::Default, now, Duration::ZERO);
        Job { caller: caller.name().into(), ..job }
    }

    fn client(name: &str, scopes: &str) -> Caller {
        Caller::client(name.into(), Reads::of(scopes.split(' ')))
    }

    fn of_types(names: &[&str]) -> Asked {
        let types = names.iter().map(|name| ResourceType::parse(name).unwrap()).collect();
        Asked { types: Some(types), ..Asked::default() }
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
    fn provenance_of_what_is_exported_needs_a_scope_of_its_own() {
        let associated = Associated { provenance: Some(Provenance::Latest), ..Associated::default() };
        for (scopes, allowed) in
            [("system/Patient.rs", false), ("system/Patient.rs system/Provenance.rs", true), ("system/*.rs", true)]
        {
            let caller = client("alice", scopes);
            let asked = Asked { associated, ..of_types(&["Patient"]) };
            assert_eq!(caller.check_reading(&job_of(&caller, asked.clone())).is_ok(), allowed, "{scopes}");
            assert_eq!(caller.permitted(asked).is_ok(), allowed, "{scopes}");
            assert!(caller.check_reading(&job_of(&caller, of_types(&["Patient"]))).is_ok());
        }
    }

    #[test]
    fn an_export_exists_for_whoever_started_it() {
        let [alice, bob] = ["alices-key", "bobs-key"].map(|key| Caller::with_key(&Secret::new(key)));
        let nobody = Caller::without_key();
        let [carol, dave] = ["carol@issuer", "dave@issuer"].map(|name| client(name, "system/*.rs"));
        let admin = Caller::administrator("admin@issuer".into(), Reads::of([]));
        let owners = [&nobody, &alice, &bob, &carol, &dave];
        let seen = |caller: &Caller| owners.map(|owner| caller.sees(&job_of(owner, Asked::default())));
        assert_eq!(seen(&nobody), [true, false, false, false, false]);
        assert_eq!(seen(&alice), [true, true, false, false, false]);
        assert_eq!(seen(&carol), [false, false, false, true, false]);
        assert_eq!(seen(&dave), [false, false, false, false, true]);
        assert_eq!(seen(&admin), [true; 5]);
    }

    #[test]
    fn what_was_exported_is_seen_by_those_who_may_read_all_of_it() {
        let patients = client("carol@issuer", "system/Patient.rs");
        let everything = client("carol@issuer", "system/*.rs");
        let [narrow, wide] = [of_types(&["Patient"]), Asked::default()].map(|asked| job_of(&patients, asked));
        assert_eq!([&narrow, &wide].map(|job| patients.check_reading(job).is_ok()), [true, false]);
        assert_eq!([&narrow, &wide].map(|job| everything.check_reading(job).is_ok()), [true, true]);
        assert_eq!(patients.check_ending(&wide).unwrap_err().status, 403);
        let admin = Caller::administrator("admin@issuer".into(), Reads::of([]));
        assert!(admin.check_ending(&wide).is_ok() && admin.check_reading(&narrow).is_err());
    }

    #[test]
    fn types_beyond_the_scopes_are_refused_if_named_and_left_out_if_not() {
        let patients = client("carol@issuer", "system/Patient.rs");
        assert_eq!(patients.permitted(of_types(&["Patient"])), Ok(of_types(&["Patient"])));
        let refused = patients.permitted(of_types(&["Observation", "Patient"])).unwrap_err();
        assert_eq!((refused.status, refused.parameter), (403, Some("_type")));
        assert!(refused.diagnostics.contains("Observation") && !refused.diagnostics.contains("Patient"));
        let reduced = patients.permitted(Asked::default()).unwrap();
        assert_eq!(reduced.types, of_types(&["Patient"]).types);
        assert!(reduced.notes[0].diagnostics.contains("Patient"));
        assert_eq!(client("x@issuer", "openid").permitted(Asked::default()).unwrap_err().status, 403);
        let everything = client("carol@issuer", "system/*.read");
        assert_eq!(everything.permitted(Asked::default()), Ok(Asked::default()));
    }
}
