//! The port `Probes` in memory: everything can be used, unless the script says otherwise.

use async_trait::async_trait;
use fhir_export::ports::{Dependency, PortError, Probed, Probes};

use super::gate::Call;
use super::world::World;

#[async_trait]
impl Probes for World {
    async fn probe(&self, dependency: Dependency) -> Result<Probed, PortError> {
        let probed = match dependency {
            Dependency::Store | Dependency::Jobs | Dependency::Queue | Dependency::Destination => Probed::Usable,
            // Nothing in memory asks for a token.
            Dependency::Identity => Probed::NotUsed,
        };
        self.call(Call::read("probes.probe", dependency.name()), move |_| Ok(probed)).await
    }
}
