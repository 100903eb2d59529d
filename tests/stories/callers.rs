//! Who may see which export, where the host lets callers in by the keys of the app.

use fhir_export::bulk::job::State;

use crate::support::export::{Export, text, told};
use crate::support::host::{Answer, Host};
use crate::support::world::{World, small};

const ALICE: (&str, &str) = ("x-functions-key", "alices-long-key");
const BOB: (&str, &str) = ("x-functions-key", "bobs-long-key");

fn started(host: &mut Host, key: (&str, &str)) -> Export {
    Export::accepted(&host.request("GET", "/$export", &[key]))
}

#[test]
fn an_export_is_there_for_the_key_that_started_it_and_for_no_other() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = started(&mut host, ALICE);
    for method in ["GET", "DELETE", "POST"] {
        let others: [Answer; 2] = [&[BOB][..], &[]].map(|key| host.request(method, &export.status, key));
        for answer in others {
            assert_eq!(answer.status(), 404, "{method}");
            assert!(told(&answer).starts_with("There is no export"), "{method}: {}", told(&answer));
        }
    }
    assert!(export.is_open(&world), "nobody else can end it");
    assert_eq!(host.request("GET", &export.status, &[ALICE]).status(), 202);
    let by_parameter = format!("{}?code=alices-long-key", export.status);
    assert_eq!(host.get(&by_parameter).status(), 202, "the same key, wherever it stands");
    let both = host.request("GET", &by_parameter, &[BOB]);
    assert_eq!(both.status(), 404, "the host goes by the header where there are both, and so do we");
    assert_eq!(host.request("DELETE", &export.status, &[ALICE]).status(), 202);
    assert!(matches!(export.stored(&world).unwrap().state, State::Cancelled { .. }));
}

#[test]
fn what_a_stranger_is_told_of_an_export_is_what_is_told_of_none() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = started(&mut host, ALICE);
    let refused = text(&host.request("GET", &export.status, &[BOB]));
    let nothing = host.request("GET", "/_operations/export/0123456789abcdef0123456789abcdef", &[BOB]);
    assert_eq!(refused, text(&nothing).replace("0123456789abcdef0123456789abcdef", export.job.as_str()));
}

/// A build that did not tell callers apart left exports that belong to nobody.
#[test]
fn an_export_of_nobody_is_there_for_every_key() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    assert_eq!(export.stored(&world).unwrap().caller, "");
    assert_eq!(host.request("GET", &export.status, &[ALICE]).status(), 202);
}

#[test]
fn each_caller_has_its_own_places_for_exports_that_run() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    (0..10).for_each(|_| drop(started(&mut host, ALICE)));
    assert_eq!(host.request("GET", "/$export", &[ALICE]).status(), 429);
    started(&mut host, BOB);
}

#[test]
fn one_caller_cannot_use_up_the_polls_of_another() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = started(&mut host, ALICE);
    let refused = (0..100).map(|_| host.request("GET", &export.status, &[BOB]).status().as_u16());
    assert!(refused.filter(|status| *status == 429).count() > 50);
    assert_eq!(host.request("GET", &export.status, &[ALICE]).status(), 202);
}

#[test]
fn a_key_is_nowhere_to_be_found_again() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let by_header = host.request("GET", "/$export", &[ALICE]);
    let by_parameter = host.get("/$export?code=alices-long-key&_type=Patient");
    for answer in [by_header, by_parameter] {
        let export = Export::accepted(&answer);
        assert!(export.stored(&world).unwrap().caller.starts_with("key-"));
        assert_eq!(export.stored(&world).map(|job| job.asked.request.contains("code")), Some(false));
        assert!(!format!("{answer:?}").contains("alices-long-key"));
        let ended = host.go_on_until(|world| !export.is_open(world));
        assert_eq!(ended, Ok(()));
        let manifest = host.request("GET", &export.status, &[ALICE]);
        assert_eq!(manifest.status(), 200);
        assert!(!format!("{manifest:?}").contains("alices-long-key"));
    }
    let documents = world.state().container.history("");
    assert!(documents.len() > 4 && !documents.iter().any(|document| document.to_string().contains("alices-long-key")));
    assert!(!world.state().queue.messages().iter().any(|message| message.text.contains("alices-long-key")));
}
