//! Audit records: who did what with which export, as FHIR R4 AuditEvent.
//!
//! A record holds names of callers, resource types, times, counts and accounts. What a client wrote in its own words is not
//! in it, so no patient's data and no credential can be.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::chunk::Totals;
use super::denials::Rest;
use super::destination::Destination;
use super::job::Job;
use super::job_id::JobId;
use super::rejection::Rejection;
use super::timestamp::Timestamp;

/// Something that happened to an export. It waits in the job's document, from the write that made it so until it is
/// recorded: whoever dies in between leaves it to the watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub at: Timestamp,
    /// Whose request it was, where it was one; else it is recorded beside the caller who started the export.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum What {
    /// The kick-off was accepted.
    Accepted,
    /// The kick-off could not be brought on its way, and was answered with an error.
    Withdrawn,
    Completed {
        totals: Totals,
    },
    Failed {
        reason: String,
    },
    /// A failed export was taken up again.
    Resumed,
    /// Its caller ended it while it ran.
    Cancelled,
    /// Its caller had it removed after its end.
    Removed,
    /// Its time was over.
    Expired,
}

/// Something else that is recorded: it changes no export.
#[derive(Clone, Copy, Debug)]
pub enum Incident<'a> {
    /// A kick-off was refused.
    Refused(&'a Rejection),
    /// A request about an export was refused to a caller who may not make it.
    Denied { wanted: Wanted, job: Option<&'a JobId>, rejection: &'a Rejection },
    /// More of the same than are recorded each by itself.
    DeniedToo(&'a Rest),
    /// A manifest was handed out, with links that work until then.
    HandedOut { job: &'a Job, until: Timestamp },
    /// A file was handed out by us.
    Downloaded { job: &'a Job, file: &'a str, bytes: u64 },
}

/// What a request about an export wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    KickOff,
    Status,
    Cancel,
    Resume,
    File,
}

/// The service that records.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The base of its public URLs.
    pub url: &'a Url,
    /// The account of the default destination, if there is one.
    pub default_account: Option<&'a str>,
}

/// The record of a change. Recorded twice, it has the same id both times.
pub fn of_change(site: Site<'_>, job: &Job, change: &Change) -> Value {
    let act = act_of(&change.what);
    let id = format!("{}.{}.{}", job.id, name_of(&change.what), change.at.milliseconds());
    let (outcome, counts) = match &change.what {
        What::Completed { totals } => (Outcome::Success, counts(totals)),
        What::Failed { reason } => (Outcome::Serious(reason.clone()), Vec::new()),
        What::Withdrawn => (Outcome::Serious("the kick-off was answered with an error".into()), Vec::new()),
        What::Accepted | What::Resumed | What::Cancelled | What::Removed | What::Expired => {
            (Outcome::Success, Vec::new())
        }
    };
    let entities = [of_job(&job.id, [scope(job), counts].concat())].into_iter().chain(destination(site, job)).collect();
    let caller = if change.by.is_empty() { &job.caller } else { &change.by };
    written(site, &id, change.at, (act, outcome), caller, entities)
}

/// The record of an incident. `id` must be fresh.
pub fn of_incident(site: Site<'_>, id: &str, now: Timestamp, caller: &str, incident: Incident<'_>) -> Value {
    let refused = |rejection: &Rejection| {
        let about = rejection.parameter.map(|name| format!(", about {name}")).unwrap_or_default();
        let told = format!("{} {}{about}", rejection.status, rejection.code);
        if rejection.status < 500 { Outcome::Minor(told) } else { Outcome::Serious(told) }
    };
    let (act, outcome, entities) = match incident {
        Incident::Refused(rejection) => (request(Wanted::KickOff), refused(rejection), Vec::new()),
        Incident::Denied { wanted, job, rejection } => {
            let entities = job.map(|id| of_job(id, Vec::new())).into_iter().collect();
            (request(wanted), refused(rejection), entities)
        }
        Incident::DeniedToo(Rest { reason, count, .. }) => {
            let told = format!("{} {}, and so {count} more", reason.status, reason.code);
            (request(reason.wanted), Outcome::Minor(told), Vec::new())
        }
        Incident::HandedOut { job, until } => {
            let details = vec![detail("links until", &until.instant())];
            (request(Wanted::Status), Outcome::Success, vec![of_job(&job.id, details)])
        }
        Incident::Downloaded { job, file, bytes } => {
            let file = json!({
                "what": { "identifier": { "value": file } },
                "type": coding(ENTITY_TYPE, "2", "System Object"),
                "role": coding(OBJECT_ROLE, "3", "Report"),
                "lifecycle": coding(LIFECYCLE, "11", "Disclosure"),
                "detail": [detail("bytes", &bytes.to_string())],
            });
            (request(Wanted::File), Outcome::Success, vec![of_job(&job.id, Vec::new()), file])
        }
    };
    let mut record = written(site, id, now, (act, outcome), caller, entities);
    match incident {
        Incident::DeniedToo(rest) => {
            record["period"] = json!({ "start": rest.from.instant(), "end": rest.until.instant() });
        }
        Incident::Refused(_) | Incident::Denied { .. } | Incident::HandedOut { .. } | Incident::Downloaded { .. } => {}
    }
    record
}

const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const RECORD_LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/dicom-audit-lifecycle";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";

/// What kind of event it is.
struct Act {
    kind: Value,
    subtypes: Vec<Value>,
    /// C, R, U, D or E.
    action: &'static str,
    by: By,
}

/// Whose doing it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Caller,
    /// Our own, for the caller.
    Us,
}

enum Outcome {
    Success,
    Minor(String),
    Serious(String),
}

fn act_of(what: &What) -> Act {
    match what {
        What::Accepted | What::Withdrawn => request(Wanted::KickOff),
        What::Resumed => request(Wanted::Resume),
        What::Cancelled | What::Removed => request(Wanted::Cancel),
        What::Completed { .. } | What::Failed { .. } => Act {
            kind: coding(DICOM, "110106", "Export"),
            subtypes: vec![coding(RECORD_LIFECYCLE, "extract", "Extract Record Lifecycle Event")],
            action: "R",
            by: By::Us,
        },
        What::Expired => Act {
            kind: coding(RECORD_LIFECYCLE, "destroy", "Destroy/Delete Record Lifecycle Event"),
            subtypes: Vec::new(),
            action: "D",
            by: By::Us,
        },
    }
}

fn request(wanted: Wanted) -> Act {
    let (interaction, action) = match wanted {
        Wanted::KickOff | Wanted::Resume => ("operation", "E"),
        Wanted::Status | Wanted::File => ("read", "R"),
        Wanted::Cancel => ("delete", "D"),
    };
    let named = match wanted {
        Wanted::KickOff => "export-kick-off",
        Wanted::Resume => "export-resume",
        Wanted::Status => "export-status",
        Wanted::File => "export-file",
        Wanted::Cancel => "export-delete",
    };
    Act {
        kind: coding(EVENT_TYPE, "rest", "RESTful Operation"),
        // The second one is the Bulk Data request, for which there is no standard code.
        subtypes: vec![coding(INTERACTION, interaction, interaction), json!({ "code": named })],
        action,
        by: By::Caller,
    }
}

fn name_of(what: &What) -> &'static str {
    match what {
        What::Accepted => "accepted",
        What::Withdrawn => "withdrawn",
        What::Completed { .. } => "completed",
        What::Failed { .. } => "failed",
        What::Resumed => "resumed",
        What::Cancelled => "cancelled",
        What::Removed => "removed",
        What::Expired => "expired",
    }
}

fn written(
    site: Site<'_>,
    id: &str,
    recorded: Timestamp,
    (act, outcome): (Act, Outcome),
    caller: &str,
    entities: Vec<Value>,
) -> Value {
    let mut agents = vec![of_caller(caller, act.by)];
    if act.by == By::Us {
        agents.push(json!({
            "type": { "coding": [coding(DICOM, "110150", "Application")] },
            "who": observer(site),
            "requestor": false,
        }));
    }
    let mut record = json!({
        "resourceType": "AuditEvent",
        "id": id,
        "type": act.kind,
        "action": act.action,
        "recorded": recorded.instant(),
        "agent": agents,
        "source": {
            "observer": observer(site),
            "type": [coding(SOURCE_TYPE, "4", "Application Server")],
        },
    });
    // FHIR has no empty lists.
    if !act.subtypes.is_empty() {
        record["subtype"] = act.subtypes.into();
    }
    if !entities.is_empty() {
        record["entity"] = entities.into();
    }
    let (code, told) = match outcome {
        Outcome::Success => ("0", None),
        Outcome::Minor(told) => ("4", Some(told)),
        Outcome::Serious(told) => ("8", Some(told)),
    };
    record["outcome"] = code.into();
    if let Some(told) = told {
        record["outcomeDesc"] = told.into();
    }
    record
}

fn observer(site: Site<'_>) -> Value {
    json!({ "identifier": { "value": site.url }, "display": "fhir-export" })
}

/// The caller asked for the export, whoever does what now.
fn of_caller(caller: &str, by: By) -> Value {
    let who = match caller {
        "" => json!({ "display": "callers are not told apart" }),
        _ => json!({ "identifier": { "value": caller } }),
    };
    json!({ "who": who, "requestor": by == By::Caller })
}

fn of_job(id: &JobId, details: Vec<Value>) -> Value {
    let mut entity = json!({
        "what": { "identifier": { "value": id } },
        "type": coding(ENTITY_TYPE, "2", "System Object"),
        "role": coding(OBJECT_ROLE, "20", "Job"),
    });
    if !details.is_empty() {
        entity["detail"] = details.into();
    }
    entity
}

/// What of the store the export covers.
fn scope(job: &Job) -> Vec<Value> {
    let asked = &job.asked;
    let types = asked.types.as_ref().map(|types| types.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(","));
    let instant = |at: Option<Timestamp>| at.map(Timestamp::instant);
    let told = [
        ("level", Some(asked.level.name().to_owned())),
        ("_type", types),
        ("_since", instant(asked.since)),
        ("_until", instant(asked.before)),
        ("transactionTime", Some(job.transaction_time.instant())),
    ];
    told.iter().filter_map(|(name, value)| Some(detail(name, value.as_ref()?))).collect()
}

fn counts(totals: &Totals) -> Vec<Value> {
    let Totals { resources, bytes, errors, deleted, pages: _, request_charge: _ } = totals;
    let counts = [("resources", resources), ("deleted", deleted), ("errors", errors), ("bytes", bytes)];
    counts.iter().map(|(name, count)| detail(name, &count.to_string())).collect()
}

fn destination(site: Site<'_>, job: &Job) -> Option<Value> {
    let (account, named) = match &job.destination {
        Destination::Default => (site.default_account?, "default destination"),
        Destination::Caller { account, .. } => (account.as_str(), "destination named by the caller"),
    };
    let mut details = vec![detail("account", account)];
    match &job.destination {
        Destination::Default => {}
        Destination::Caller { container, .. } => details.push(detail("container", container.as_str())),
    }
    Some(json!({
        "type": coding(ENTITY_TYPE, "2", "System Object"),
        "role": coding(OBJECT_ROLE, "16", "Data Destination"),
        "name": named,
        "detail": details,
    }))
}

fn detail(name: &str, value: &str) -> Value {
    json!({ "type": name, "valueString": value })
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    let mut coding = Map::new();
    coding.insert("system".into(), system.into());
    coding.insert("code".into(), code.into());
    coding.insert("display".into(), display.into());
    coding.into()
}
