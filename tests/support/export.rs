//! One export as its client sees it.

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::job::{Job, State};
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::record::{Key, Record};
use fhir_export::bulk::restriction;
use serde_json::Value;

use super::blobs::SCRATCH;
use super::host::{Answer, Host};
use super::world::{PUBLIC_URL, World};

/// An export that was accepted.
#[derive(Clone, Debug)]
pub struct Export {
    pub job: JobId,
    /// Where its status is asked for, as a path.
    pub status: String,
}

impl Export {
    /// Kicks off and expects 202.
    pub fn start(host: &mut Host, query: &str) -> Self {
        Self::accepted(&host.get(&format!("/$export{query}")))
    }

    /// The export that this answer to a kick-off tells of.
    pub fn accepted(answer: &Answer) -> Self {
        assert_eq!(answer.status(), 202, "{}", text(answer));
        let location = answer.headers()["content-location"].to_str().unwrap();
        let status = location.strip_prefix(PUBLIC_URL).expect("an absolute URL below the public one").to_owned();
        let job = JobId::parse(status.rsplit('/').next().unwrap()).unwrap();
        Self { job, status }
    }

    /// An export of what was asked, which is recorded as a kick-off would have.
    pub fn of(host: &mut Host, asked: Asked) -> Self {
        let export = Self::start(host, "");
        let job = export.stored(&host.world).expect("a job that was accepted");
        host.world.state().container.change(&Job { asked, ..job }.into());
        export
    }

    /// The job document, as long as there is one.
    pub fn stored(&self, world: &World) -> Option<Job> {
        match world.state().container.record(&Key::job(&self.job))? {
            Record::Job(job) => Some(job),
            other => panic!("{other:?} in place of a job"),
        }
    }

    /// What was asked, as the steps work by it: its restriction opened with the key that is kept for it.
    pub fn asked(&self, world: &World) -> Asked {
        let asked = self.stored(world).expect("a job that is there").asked;
        let Some(sealed) = &asked.restriction else { return asked };
        let key = world.state().blobs.read(SCRATCH, &self.restriction_key()).expect("a key that is kept");
        restriction::opened(&asked, sealed, self.job.as_str(), key.try_into().unwrap()).unwrap()
    }

    /// The blob with the key of the restriction.
    pub fn restriction_key(&self) -> String {
        format!("{}/restriction-key", self.job)
    }

    pub fn is_open(&self, world: &World) -> bool {
        self.stored(world).is_some_and(|job| job.is_open())
    }

    /// Whether everything of it was removed but its documents.
    pub fn is_cleaned(&self, world: &World) -> bool {
        self.stored(world).is_some_and(|job| matches!(job.state, State::Cancelled { cleaned: true, .. }))
    }

    /// Goes on until the export is closed, then polls.
    pub fn end(&self, host: &mut Host) -> Answer {
        let ended = host.go_on_until(|world| !self.is_open(world));
        ended.unwrap_or_else(|stuck| panic!("{stuck}"));
        host.get(&self.status)
    }

    /// Goes on until the export is closed, and asks nothing.
    pub fn close(&self, host: &mut Host) {
        let ended = host.go_on_until(|world| !self.is_open(world));
        ended.unwrap_or_else(|stuck| panic!("{stuck}"));
    }

    /// Goes on until the export is completed; its manifest.
    pub fn complete(&self, host: &mut Host) -> Value {
        let answer = self.end(host);
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        json(&answer)
    }

    /// Goes on until nothing of the export is left.
    pub fn vanish(&self, host: &mut Host) {
        let gone = host.go_on_until(|world| self.stored(world).is_none());
        gone.unwrap_or_else(|stuck| panic!("{stuck}"));
    }
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(answer.body()).into_owned()
}

pub fn json(answer: &Answer) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| panic!("{error}: {}", text(answer)))
}

/// The diagnostics of an OperationOutcome with exactly one issue.
pub fn told(answer: &Answer) -> String {
    let outcome = json(answer);
    assert_eq!(answer.headers()["content-type"], "application/fhir+json");
    assert_eq!(outcome["resourceType"], "OperationOutcome", "{outcome}");
    assert_eq!(outcome["issue"].as_array().map(Vec::len), Some(1), "{outcome}");
    outcome["issue"][0]["diagnostics"].as_str().unwrap().to_owned()
}
