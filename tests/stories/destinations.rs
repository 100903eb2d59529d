//! Destinations that callers name: which signatures are taken, what the caller is told of them, and what becomes of files.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fhir_export::bulk::destination::Destination;
use fhir_export::bulk::secret::SealingKeys;
use fhir_export::ports::ErrorKind;
use serde_json::json;
use url::form_urlencoded::parse;

use crate::support::export::{Export, json as body, text, told};
use crate::support::gate::{Fault, When};
use crate::support::host::{Answer, Host};
use crate::support::world::{World, sealing_key, small};

use super::clinics::patients;
use super::kick_off::issues;

/// A kick-off into the account `example` with this credential, which is the rest of a connection string.
fn kick_off(host: &mut Host, credential: &str) -> Answer {
    let settings = format!("BlobEndpoint=https://example.blob.core.windows.net/;{credential}");
    let entries = json!([
        { "name": "_destinationType", "valueString": "azure-block-blob" },
        { "name": "_destinationConnectionSettings", "valueString": STANDARD.encode(settings) },
    ]);
    let parameters = json!({ "resourceType": "Parameters", "parameter": entries }).to_string();
    host.post("/$export", &[("content-type", "application/fhir+json")], &parameters)
}

/// The same with a signature of these permissions, which ends after some hours.
pub fn signed(host: &mut Host, permissions: &str, hours: u64) -> Answer {
    let end = host.world.now().plus(Duration::from_secs(hours * 3600)).whole_seconds();
    kick_off(host, &format!("SharedAccessSignature=sp={permissions}&se={end}&sig={SIGNATURE}"))
}

pub const SIGNATURE: &str = "c2lnbmF0dXJl";

/// The signature that is stored with a job, unsealed with the key of the settings.
fn unsealed(export: &Export, world: &World) -> String {
    let stored = export.stored(world).unwrap();
    let Destination::Caller { secret: Some(sealed), .. } = &stored.destination else { panic!("no secret") };
    let keys = SealingKeys::new(sealing_key(1), Vec::new());
    keys.open(sealed, export.job.as_str()).unwrap().reveal().to_owned()
}

#[test]
fn a_signature_that_cannot_serve_is_refused_with_its_reason_and_leaves_nothing() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let (before, after) = ("2026-01-02T03:00:00Z", "2026-01-02T04:00:00Z");
    for (signature, reason) in [
        (format!("sp=rcwd&se={before}&sig=x"), "has expired"),
        (format!("sp=rcwd&st={after}&se=2026-02-01&sig=x"), "is not valid yet"),
        (format!("sp=rcd&se={after}&sig=x"), "has no write permission"),
        (format!("sp=rwd&se={after}&sig=x"), "has no create permission"),
        (format!("sp=rcwd&se={after}"), "has no sig field"),
        (format!("ss=q&srt=sco&sp=rcwd&se={after}&sig=x"), "does not open blob storage"),
        (format!("sr=b&sp=rcwd&se={after}&sig=x"), "does not open a container"),
    ] {
        let refused = kick_off(&mut host, &format!("SharedAccessSignature={signature}"));
        assert_eq!(refused.status(), 400, "{signature}");
        assert!(told(&refused).contains(reason), "{signature}: {}", told(&refused));
        assert_eq!(body(&refused)["issue"][0]["expression"][0], "_destinationConnectionSettings");
    }
    assert!(world.state().container.is_empty());
    assert_eq!(world.state().blobs.staged(), [""; 0]);
}

#[test]
fn a_caller_is_warned_of_a_signature_that_ends_within_a_day_or_may_not_delete() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    for (permissions, hours, warnings) in [
        ("rcwd", 25, &[][..]),
        ("rcwd", 23, &["ends at"]),
        ("cw", 25, &["may not delete"]),
        ("cw", 1, &["ends at", "may not delete"]),
    ] {
        let answer = signed(&mut host, permissions, hours);
        let warning = "warning business-rule _destinationConnectionSettings";
        assert_eq!(issues(&answer)[1..], vec![warning; warnings.len()], "{permissions} {hours}");
        assert!(warnings.iter().all(|warning| text(&answer).contains(warning)), "{}", text(&answer));
        let stored = Export::accepted(&answer).stored(&world).unwrap();
        assert_eq!(stored.asked.request, "https://export.example/$export");
        assert!(!text(&answer).contains(SIGNATURE) && !format!("{stored:?}").contains(SIGNATURE));
    }
}

#[test]
fn an_account_key_becomes_a_signature_for_the_container_of_the_job_and_is_not_kept() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let key = STANDARD.encode("the key of an account");
    let export = Export::accepted(&kick_off(&mut host, &format!("AccountName=example;AccountKey={key}")));
    let signature = unsealed(&export, &world);
    let fields: Vec<(String, String)> = parse(signature.as_bytes()).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!([field("sr"), field("sp"), field("spr")], [Some("c"), Some("cwd"), Some("https")]);
    let end = world.now().plus(Duration::from_secs(7 * 86400)).whole_seconds();
    assert_eq!(field("se"), Some(end.as_str()));
    let history = serde_json::Value::from(world.state().container.history("")).to_string();
    assert!(!signature.contains(&key) && !history.contains(&key) && !history.contains(field("sig").unwrap()));
}

/// The next block of the export meets this answer of its destination; how the client is then told that it failed.
fn refused_at_the_next_block(host: &mut Host, export: &Export) -> String {
    host.break_next("blobs.stage", "Patient", Fault::Refuse(ErrorKind::Denied));
    let failed = export.end(host);
    assert_eq!((failed.status().as_u16(), body(&failed)["issue"][0]["code"].as_str()), (500, Some("processing")));
    told(&failed)
}

#[test]
fn a_signature_that_runs_out_in_mid_job_ends_it_with_that_reason() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let end = world.now().plus(Duration::from_secs(3600)).instant();
    let export = Export::accepted(&signed(&mut host, "rcwd", 1));
    host.deliver();
    host.wait(Duration::from_secs(2 * 3600));
    let reason = refused_at_the_next_block(&mut host, &export);
    assert!(reason.contains(&format!("the shared access signature of the destination ended at {end}")), "{reason}");
}

#[test]
fn a_signature_that_is_revoked_in_mid_job_ends_it_with_that_reason() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&signed(&mut host, "rcwd", 48));
    host.deliver();
    let reason = refused_at_the_next_block(&mut host, &export);
    assert!(reason.contains("the destination refuses the credential"), "{reason}");
}

#[test]
fn files_in_a_callers_container_are_the_callers_once_the_export_is_completed() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&signed(&mut host, "rcwd", 48));
    export.complete(&mut host);
    let files = world.state().blobs.committed().join(" ");
    assert!(files.contains("Patient"));
    assert_eq!(host.delete(&export.status).status(), 202);
    export.vanish(&mut host);
    assert_eq!(world.state().blobs.committed().join(" "), files);
}

#[test]
fn a_cancel_before_anything_is_written_leaves_nothing_in_a_callers_container() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&signed(&mut host, "rcwd", 48));
    assert!(!world.state().blobs.staged().is_empty(), "the kick-off has tried whether it can write");
    assert_eq!(host.delete(&export.status).status(), 202);
    export.vanish(&mut host);
    assert_eq!(world.state().blobs.staged(), [""; 0]);
}

#[test]
fn what_a_signature_without_the_right_to_delete_has_left_keeps_nothing_else_alive() {
    let world = World::new();
    patients(&world, 30);
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&signed(&mut host, "cw", 48));
    host.deliver();
    host.deliver();
    let files = world.state().blobs.committed().len();
    assert!(files > 0);
    assert_eq!(host.delete(&export.status).status(), 202);
    world
        .state()
        .gate
        .script
        .extend((0..100).map(|_| (When::Next("blobs.clear", ""), Fault::Refuse(ErrorKind::Denied))));
    host.go_on_until(|world| export.is_cleaned(world)).unwrap();
    assert_eq!(world.state().blobs.committed().len(), files);
    export.vanish(&mut host);
    assert!(world.state().container.is_empty());
}
