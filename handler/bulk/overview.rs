//! What people are shown of an export: the same figures on its page, in the list, and in a terminal.

use serde::{Serialize, Serializer};

use super::by_type::OfType;
use super::chunk::Totals;
use super::destination::Destination;
use super::job::{Job, State};
use super::job_id::JobId;
use super::note::Note;
use super::progress;
use super::series::{self, Pace, Point};
use super::summary::Summary;
use super::timestamp::Timestamp;

/// How it stands with an export, as of the time at which it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub id: JobId,
    pub state: Phase,
    /// Whose resources, as the path of the kick-off.
    pub scope: String,
    #[serde(serialize_with = "instant")]
    pub created: Timestamp,
    #[serde(serialize_with = "instant")]
    pub transaction_time: Timestamp,
    #[serde(serialize_with = "instants", skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    #[serde(serialize_with = "instants", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub percent: u64,
    /// Ranges of the store that are read to their end, and all of them once they are known.
    pub ranges_read: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<u32>,
    pub totals: Totals,
    /// Each second of the last minute, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// For so long nothing has been reported, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_quiet: Option<u64>,
    #[serde(serialize_with = "types")]
    pub types: Vec<OfType>,
    pub notes: Vec<Note>,
    /// For the chart of the page.
    #[serde(skip)]
    pub points: Vec<Point>,
}

/// The state of an export without what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Accepted,
    Running,
    Completed,
    Failed,
    Removed,
}

impl Overview {
    pub fn of(job: &Job, summary: &Summary, now: Timestamp) -> Self {
        let (ended, expires, reason) = match &job.state {
            State::Accepted | State::Planned { .. } => (None, None, None),
            State::Completed { ended, expires, .. } => (Some(*ended), Some(*expires), None),
            State::Failed { ended, expires, reason, .. } => (Some(*ended), Some(*expires), Some(reason.clone())),
            State::Cancelled { ended, .. } => (Some(*ended), None, None),
        };
        let ranges = match &job.state {
            State::Planned { ranges, .. } | State::Failed { planned: Some((_, ranges)), .. } => Some(*ranges),
            State::Accepted | State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => None,
        };
        let totals = match &job.state {
            State::Completed { totals, .. } => *totals,
            State::Accepted | State::Planned { .. } | State::Failed { .. } | State::Cancelled { .. } => {
                summary.totals()
            }
        };
        let ranges_read = summary.ranges().min(ranges.unwrap_or(u32::MAX));
        let running = matches!(job.state, State::Planned { .. });
        // Of an export that stood still for a while nothing can be concluded from its age.
        let steady = running && job.resumed.is_none();
        let left = steady.then(|| series::time_left(ranges_read, ranges?, job.created, now)).flatten();
        let begun = job.resumed.unwrap_or(job.created);
        Self {
            id: job.id.clone(),
            state: Phase::of(&job.state),
            scope: job.asked.level.path(),
            created: job.created,
            transaction_time: job.transaction_time,
            ended,
            expires,
            reason,
            percent: match &job.state {
                State::Completed { .. } => 100,
                State::Accepted | State::Planned { .. } | State::Failed { .. } | State::Cancelled { .. } => {
                    ranges.map_or(0, |ranges| progress::percent(ranges_read, ranges))
                }
            },
            ranges_read,
            ranges,
            totals,
            pace: running.then(|| summary.series.pace(&totals, begun, now)),
            seconds_left: left.map(|left| left.as_secs()),
            seconds_quiet: running.then(|| now.since(summary.moved.unwrap_or(begun)).as_secs()),
            types: summary.types(),
            notes: job.asked.notes.clone(),
            points: summary.series.points(),
        }
    }

    /// Resources of which nobody has told their types.
    pub fn untold(&self) -> u64 {
        let told: u64 = self.types.iter().map(|of| of.resources).sum();
        self.totals.resources.saturating_sub(told)
    }
}

impl Phase {
    pub fn of(state: &State) -> Self {
        match state {
            State::Accepted => Self::Accepted,
            State::Planned { .. } => Self::Running,
            State::Completed { .. } => Self::Completed,
            State::Failed { .. } => Self::Failed,
            State::Cancelled { .. } => Self::Removed,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }

    /// Whether it will be another one soon.
    pub fn is_open(self) -> bool {
        match self {
            Self::Accepted | Self::Running => true,
            Self::Completed | Self::Failed | Self::Removed => false,
        }
    }
}

/// Where an export goes, without anything secret.
pub fn place(destination: &Destination, default_account: Option<&str>) -> String {
    match destination {
        Destination::Default => match default_account {
            Some(account) => format!("storage account {account} (this server's own)"),
            None => "this server's own storage".into(),
        },
        Destination::Caller { account, container, .. } => {
            format!("storage account {account}, container {}", container.as_str())
        }
    }
}

fn instant<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.instant())
}

fn instants<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Timestamp::instant).serialize(serializer)
}

/// By their names, not as they are stored.
fn types<S: Serializer>(types: &[OfType], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named<'a> {
        #[serde(rename = "type")]
        resource_type: &'a str,
        files: u64,
        resources: u64,
        bytes: u64,
    }
    serializer.collect_seq(types.iter().map(|of| Named {
        resource_type: of.resource_type.as_str(),
        files: of.files,
        resources: of.resources,
        bytes: of.bytes,
    }))
}
