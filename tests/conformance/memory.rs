//! The ports in memory, which the stories and the simulation run on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fhir_export::ports::{Jobs, Output, Outputs, Place};
use serde_json::Value;

use super::audit::{Reader, Trail};
use super::steps::{Deliveries, Ends};
use super::{keeps_all, resources as suite};
use crate::support::queue::Rules;
use crate::support::world::World;

keeps_all!(views(), jobs(), output(), ends(), trail());

async fn views() -> suite::Views {
    let world = World::new();
    for split in [0x3FFF, 0x7FFF, 0xBFFF] {
        world.state().store.split(split);
    }
    suite::shelf().into_iter().for_each(|stored| world.state().store.add(stored));
    [Arc::new(world.clone()), Arc::new(world)]
}

async fn jobs() -> Arc<dyn Jobs> {
    Arc::new(World::new())
}

async fn output() -> Arc<dyn Output> {
    World::new().open(&Place::Default).await.unwrap()
}

async fn trail() -> Trail {
    let world = World::new();
    (Arc::new(world.clone()), Box::new(world))
}

#[async_trait]
impl Reader for World {
    async fn records(&self) -> Vec<Value> {
        self.state().audit.0.clone()
    }
}

async fn ends() -> Ends {
    let world = World::new();
    (Arc::new(world.clone()), Box::new(world))
}

#[async_trait]
impl Deliveries for World {
    async fn take(&self) -> Vec<String> {
        let state = &mut *self.state();
        let (now, rules) = (state.now, Rules::of_host_json());
        let ids = state.queue.visible(now);
        let delivered = ids.into_iter().map(|id| state.queue.receive(id, now, &rules).unwrap());
        delivered.map(|(message, _)| message.text).collect()
    }

    async fn pass(&self, time: Duration) {
        let mut state = self.state();
        state.now = state.now.plus(time);
    }
}
