//! Pages of the store, and the room that a process has for them.

use std::sync::Mutex;
use std::time::Duration;

use fhir_export::bulk::chunk::Pass;
use fhir_export::bulk::limits::Limits;
use fhir_export::bulk::window::Window;
use fhir_export::functions::{App, Settings, store_pages};
use fhir_export::ports::{ErrorKind, PortError, Slice};

use crate::support::gate::{Fault, When};
use crate::support::world::{World, small};

/// What the store says while a range has no request units left.
const COME_BACK: Duration = Duration::from_millis(50);

/// With room for one page, and some patience.
fn app(world: &World, page_patience: Duration) -> App {
    world.app(Settings { limits: Limits { pages: 1, page_patience, ..small().limits }, ..small() })
}

/// A range, whose next pages are refused so often.
async fn throttled(world: &World, app: &App, range: usize, times: usize) -> Slice {
    let range = app.resources.ranges().await.unwrap()[range].clone();
    let refused = Fault::Refuse(ErrorKind::Throttled { after: Some(COME_BACK) });
    let strikes = When::Next("resources.page", String::leak(format!("{}…{}", range.min, range.max)));
    world.state().gate.script.extend((0..times).map(|_| (strikes, refused)));
    let window = Window::up_to(world.now());
    Slice { range, pass: Pass::Current, window, types: None, about: None }
}

#[tokio::test]
async fn a_range_that_waits_for_request_units_leaves_the_room_to_others() {
    let world = World::new();
    world.state().store.split(0x8000);
    let app = app(&world, Duration::from_secs(5));
    let (busy, free) = (throttled(&world, &app, 0, 2).await, throttled(&world, &app, 1, 0).await);
    let order = Mutex::new(Vec::new());
    let read = async |name: &'static str, slice: &Slice| {
        let held = store_pages::read(&app, slice, None).await;
        order.lock().unwrap().push(name);
        held.page.is_ok()
    };
    assert_eq!(tokio::join!(read("busy", &busy), read("free", &free)), (true, true));
    assert_eq!(order.into_inner().unwrap(), ["free", "busy"]);
    assert_eq!(world.state().gate.calls_named("resources.page"), 4);
}

#[tokio::test]
async fn a_page_is_waited_for_with_some_patience_and_no_longer() {
    for (patience, calls) in [(Duration::ZERO, 1), (2 * COME_BACK, 3), (3 * COME_BACK, 4)] {
        let world = World::new();
        let app = app(&world, patience);
        let slice = throttled(&world, &app, 0, 3).await;
        let page = store_pages::read(&app, &slice, None).await.page;
        assert_eq!(page.is_ok(), calls == 4);
        assert!(page.err().is_none_or(|PortError { kind, .. }| matches!(kind, ErrorKind::Throttled { .. })));
        assert_eq!(world.state().gate.calls_named("resources.page"), calls);
        assert_eq!(app.memory.pages.available_permits(), 1, "what was held is given back");
    }
}
