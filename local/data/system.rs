//! The documents that the FHIR server keeps beside the resources for itself. An export must never show one.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::instants::stored;
use super::json::{self, Object};
use super::random::Random;
use super::{Stored, world::World};

/// Every kind of system document that a server of any age left in the container.
pub fn documents(world: &World) -> Vec<Stored> {
    let mut random = world.random("system", 0);
    let mut documents = vec![
        document("_collectionVersions", "collectionversion", |o| {
            o.boolean("isSystem", true).integer("version", 60);
        }),
        lock("LockDocument:UpgradeLock:3"),
        lock("LockDocument:__jobQueue:1"),
        document("__healthcheck__", "__healthcheck__", |o| {
            o.boolean("isSystem", true);
        }),
        reindex_job(&mut random, world.latest),
        export_job(&mut random, world.latest, true),
        // Until the end of May 2019 the server forgot to mark its export jobs.
        export_job(&mut random, datetime!(2019-05-14 08:30:00.25 UTC), false),
    ];
    let parameters = ["code", "subject", "patient", "date", "status", "identifier", "name", "birthdate", "category"];
    documents.extend(parameters.into_iter().map(|parameter| parameter_status(parameter, &mut random, world.latest)));
    documents.extend([1, 1, 2, 4, 5, 6].map(|queue| job_group(queue, &mut random, world.latest)));
    documents
}

fn document(partition_key: &str, id: &str, fill: impl FnOnce(&mut Object)) -> Stored {
    let document = json::object(|o| {
        o.string("id", id).string("partitionKey", partition_key);
        fill(o);
    });
    Stored { partition_key: partition_key.to_owned(), id: id.to_owned(), document, line: None }
}

fn lock(id: &str) -> Stored {
    document("_locks", id, |o| {
        o.boolean("isSystem", true).integer("ttl", 30);
    })
}

fn parameter_status(parameter: &str, random: &mut Random, latest: OffsetDateTime) -> Stored {
    let id = random.uuid().replace('-', "").to_uppercase();
    document("__searchparameterstatus__", &id, |o| {
        o.boolean("isSystem", true).string("uri", &format!("http://hl7.org/fhir/SearchParameter/clinical-{parameter}"));
        o.string("status", "Enabled").boolean("isPartiallySupported", false);
        o.string("lastUpdated", &stored(latest)).string("sortStatus", "Disabled");
    })
}

/// One enqueued job; its definition is the text of a request, with types and times of resources in it.
fn job_group(queue: usize, random: &mut Random, latest: OffsetDateTime) -> Stored {
    let id = format!("5253811{}", random.digits(12));
    let definition = json::object(|o| {
        o.string("requestUri", "https://fhir.example.org/$export?_type=Patient").string("resourceType", "Patient");
        o.string("till", &stored(latest)).string("groupId", &id);
    });
    document(&format!("__jobs__{queue}__"), &id, |o| {
        o.string("groupId", &id).integer("queueType", queue).integer("priority", 0).boolean("isSystem", true);
        o.string("createDate", &stored(latest - Duration::days(3))).integer("ttl", 2_592_000);
        o.list("definitions", |l| {
            l.object(|o| {
                o.string("jobId", &id).integer("status", 2).string("definition", &definition);
                o.string("definitionHash", &random.uuid().replace('-', ""));
                o.string("heartbeatDateTime", "0001-01-01T00:00:00.0000000+00:00");
                o.boolean("cancelRequested", false).integer("dequeueCount", 1).integer("version", 7);
            });
        });
    })
}

fn export_job(random: &mut Random, queued: OffsetDateTime, marked: bool) -> Stored {
    let id = random.uuid();
    document("ExportJob", &id, |o| {
        o.boolean("isSystem", marked);
        o.object("jobRecord", |o| {
            o.string("id", &id).string("hash", &random.uuid().replace('-', "")).string("status", "Completed");
            o.string("queuedTime", &stored(queued)).string("startTime", &stored(queued + Duration::seconds(9)));
            o.string("endTime", &stored(queued + Duration::minutes(7)));
            o.string("requestUri", "https://fhir.example.org/$export").list("requestorClaims", |_| ());
            o.string("secretName", &format!("Export-Destination-{id}")).integer("schemaVersion", 1);
            o.object("output", |o| {
                o.object("Patient", |o| {
                    _ = o.integer("sequence", 0).integer("count", 12).integer("committedBytes", 9120)
                });
            });
            o.list("error", |_| ());
        });
    })
}

fn reindex_job(random: &mut Random, queued: OffsetDateTime) -> Stored {
    let id = random.uuid();
    document("ReindexJob", &id, |o| {
        o.boolean("isSystem", true);
        o.object("jobRecord", |o| {
            o.string("id", &id).string("status", "Completed").string("queuedTime", &stored(queued));
            o.integer("maximumConcurrency", 3).list("resources", |l| _ = l.string("Patient").string("Observation"));
        });
    })
}
