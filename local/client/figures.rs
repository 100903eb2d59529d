//! What this project's server tells of an export beyond the protocol: figures by type, and a link to its page.

use indicatif::{HumanBytes, HumanCount};
use serde::Deserialize;

use super::outcome::printable;

/// The media type of figures.
pub const FIGURES: &str = "application/vnd.fhir-export.figures+json";

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub percent: u64,
    pub totals: Totals,
    pub pace: Option<Pace>,
    pub seconds_left: Option<u64>,
    #[serde(default)]
    pub types: Vec<OfType>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    resources: u64,
    bytes: u64,
    request_charge: f64,
}

/// Per second.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    resources: f64,
    request_units: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OfType {
    #[serde(rename = "type")]
    name: String,
    pub resources: u64,
    bytes: u64,
}

impl OfType {
    pub fn name(&self) -> String {
        printable(&self.name)
    }

    pub fn told(&self) -> String {
        format!("{}: {} resources, {}", self.name(), HumanCount(self.resources), HumanBytes(self.bytes))
    }
}

impl Figures {
    /// Whether these words about progress are those of a server that has figures, too. Others are asked no more often than
    /// they want.
    pub fn are_there(progress: &str) -> bool {
        progress.contains(" ranges, ") && progress.contains(" resources, ")
    }

    pub fn told(&self) -> String {
        let Totals { resources, bytes, request_charge } = &self.totals;
        let units = HumanCount(request_charge.round() as u64);
        let mut told = format!(
            "{}%: {} resources, {}, {units} request units",
            self.percent,
            HumanCount(*resources),
            HumanBytes(*bytes)
        );
        if let Some(pace) = &self.pace {
            let [resources, units] = [pace.resources, pace.request_units].map(|pace| HumanCount(pace.round() as u64));
            told.push_str(&format!("; {resources} resources and {units} request units a second"));
        }
        if let Some(seconds) = self.seconds_left {
            told.push_str(&format!(
                "; about {} left",
                indicatif::HumanDuration(std::time::Duration::from_secs(seconds))
            ));
        }
        told
    }
}
