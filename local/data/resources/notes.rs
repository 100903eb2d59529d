//! DocumentReference and Provenance: documents of any size, and who wrote what.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Draft;
use crate::data::codes;
use crate::data::fhir::{Code, Reference, hl7, xhtml};
use crate::data::instants::date_time;
use crate::data::people;
use crate::data::random::Random;
use crate::data::world::{Subject, Visit};

/// How much a document holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A few sentences.
    Note,
    /// A report of about 100 KB, attached.
    Report,
    /// About 100 KB in the narrative, much of which must be escaped.
    Narrative,
    /// Scanned pages: the stored document comes close to the 2 MB that Cosmos DB takes.
    Scan,
}

pub fn document(subject: &Subject, visit: &Visit, extent: Extent, random: &mut Random) -> Draft {
    let kind = random.pick(&codes::NOTES);
    let (content_type, content) = match extent {
        Extent::Note => ("text/plain; charset=utf-8", people::prose(300, random).into_bytes()),
        Extent::Narrative => ("text/plain", b"See the narrative.".to_vec()),
        Extent::Report => ("text/plain; charset=utf-8", people::prose(75_000, random).into_bytes()),
        Extent::Scan => ("application/pdf", random.bytes(1_560_000)),
    };
    Draft::write("DocumentReference", random.uuid(), |o, index| {
        match extent {
            Extent::Narrative => {
                let paragraphs = people::prose(98_000, random).replace("  ", " ");
                o.narrative(&format!("<p class=\"long\">{}</p>", xhtml(&paragraphs)));
            }
            Extent::Note | Extent::Report | Extent::Scan => {
                o.narrative(&format!("<p>{}</p>", kind.display));
            }
        }
        o.identifier("urn:ietf:rfc:3986", &format!("urn:uuid:{}", random.uuid()));
        o.string("status", "current").string("docStatus", "final").concept("type", kind);
        o.reference("subject", &subject.patient).string("date", &date_time(visit.end));
        o.list("author", |l| _ = l.reference(&visit.doctor)).reference("custodian", &visit.organization);
        o.list("content", |l| {
            l.object(|o| {
                o.object("attachment", |o| {
                    o.string("contentType", content_type).string("data", &BASE64_STANDARD.encode(&content));
                    o.integer("size", content.len()).string("title", kind.display);
                });
            });
        });
        o.object("context", |o| {
            o.list("encounter", |l| _ = l.reference(&visit.encounter)).period("period", visit.start, visit.end);
        });
        index.subject(&subject.patient);
        index.code("type", kind);
        index.token("status", "http://hl7.org/fhir/document-reference-status", "current");
        index.reference("author", &visit.doctor);
        index.reference("custodian", &visit.organization);
        index.reference("encounter", &visit.encounter);
        index.instant("date", visit.end);
    })
}

/// Who recorded the given resources. The patient among them puts it into the patient's compartment.
pub fn provenance(visit: &Visit, targets: &[Reference], random: &mut Random) -> Draft {
    const AUTHOR: Code = hl7("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author");
    Draft::write("Provenance", random.uuid(), |o, index| {
        o.list("target", |l| targets.iter().for_each(|target| _ = l.reference(target)));
        o.string("recorded", &date_time(visit.end)).reference("location", &visit.location);
        o.list("agent", |l| {
            l.object(|o| {
                o.concept("type", &AUTHOR).reference("who", &visit.doctor).reference("onBehalfOf", &visit.organization);
            });
        });
        o.list("signature", |l| {
            l.object(|o| {
                o.list("type", |l| {
                    l.object(|o| {
                        _ = o.string("system", "urn:iso-astm:E1762-95:2013").string("code", "1.2.840.10065.1.12.1.1")
                    });
                });
                o.string("when", &date_time(visit.end)).reference("who", &visit.doctor);
                o.string("sigFormat", "application/jose").string("data", &BASE64_STANDARD.encode(random.bytes(96)));
            });
        });
        for target in targets {
            index.reference("target", target);
            if target.resource_type == "Patient" {
                index.patient("patient", &target.id);
            }
        }
        index.reference("agent", &visit.doctor);
        index.instant("recorded", visit.end);
    })
}
