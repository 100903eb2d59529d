//! A job: what was asked, and how far it has come. States are a type, transitions return values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::audit::{Change, What};
use super::caller::Caller;
use super::chunk::Totals;
use super::destination::Destination;
use super::job_id::JobId;
use super::limits;
use super::ticket::PageKey;
use super::timestamp::Timestamp;
use super::window::Window;

/// The job document (design §4). Only its owner's etag lets it change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    #[serde(rename = "jobId")]
    pub id: JobId,
    #[serde(flatten)]
    pub state: State,
    #[serde(flatten)]
    pub asked: Asked,
    /// Who started it: a name that is no secret, or empty where callers are not told apart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// What the pages of this export are proved with. Exports of builds that showed no pages have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_key: Option<PageKey>,
    pub created: Timestamp,
    /// When the caller last wanted it to go on after it had failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Timestamp>,
    /// Nothing modified later is exported (TT-01): kick-off minus the safety lag.
    pub transaction_time: Timestamp,
    pub destination: Destination,
    /// How many members of a Group are kept beside, whose resources alone are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
    /// When the watch looks at this job next; recorded before any message about it is sent.
    pub watch_at: Timestamp,
    /// What happened to it and is not recorded for the auditors yet, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unrecorded: Vec<Change>,
}

/// `Accepted → Planned → Completed | Failed | Cancelled → removed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum State {
    /// Stored; its ranges are not read yet.
    Accepted,
    /// The plan is stored and its chunks are being read.
    Planned { chunks: u32, ranges: u32 },
    /// Every file of every chunk is committed and recorded.
    #[serde(rename_all = "camelCase")]
    Completed {
        ended: Timestamp,
        expires: Timestamp,
        /// Which `files` documents hold the records, by chunk number: what a manifest must have read to be whole.
        parts: Vec<Parts>,
        /// What was written, and what reading it has cost.
        #[serde(default)]
        totals: Totals,
    },
    /// Ended without a result, for a reason that the caller is told.
    Failed {
        ended: Timestamp,
        expires: Timestamp,
        reason: String,
        /// Chunks and ranges, if it was planned: the export can be taken up again from its last commits.
        #[serde(skip_serializing_if = "Option::is_none")]
        planned: Option<(u32, u32)>,
    },
    /// Deleted by the caller, or expired: to clients it does not exist any more.
    #[serde(rename_all = "camelCase")]
    Cancelled {
        ended: Timestamp,
        /// Whether the files go as well: not those that a Completed export left in the caller's own container.
        removes_files: bool,
        /// Nothing is left but the documents, which stay for a while: a step that comes late finds them and stops.
        cleaned: bool,
        /// So long, once it is cleaned: as long after that as a step may live. Documents of earlier builds do not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        documents_until: Option<Timestamp>,
    },
}

/// The `files` documents of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub generation: u32,
    pub count: u32,
}

/// The job is in a state from which this does not follow: someone else was first.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAllowed;

impl Job {
    /// A new job. Its message is expected to be taken up at once; if not, the watch sends it again.
    pub fn accepted(id: JobId, asked: Asked, destination: Destination, now: Timestamp, safety_lag: Duration) -> Self {
        Self {
            id,
            state: State::Accepted,
            asked,
            caller: String::new(),
            page_key: None,
            created: now,
            resumed: None,
            transaction_time: Self::time_of(now, safety_lag),
            destination,
            members: None,
            watch_at: now.plus(limits::JOB_WATCH),
            unrecorded: vec![Change { at: now, by: String::new(), what: What::Accepted }],
        }
    }

    /// The same job before everything is kept that belongs to it: one that is over, so that the watch removes what there is, if
    /// it is accepted by nobody. Nothing has happened to it that anybody would record.
    pub fn to_be_accepted(&self, now: Timestamp) -> Self {
        let state = State::Cancelled { ended: now, removes_files: true, cleaned: false, documents_until: None };
        Self { state, unrecorded: Vec::new(), watch_at: now.plus(limits::JOB_WATCH), ..self.clone() }
    }

    /// The transaction time of a kick-off.
    pub fn time_of(kick_off: Timestamp, safety_lag: Duration) -> Timestamp {
        kick_off.minus(safety_lag).whole_milliseconds()
    }

    /// The same job, of which the auditors have to be told something: if nobody does it now, the watch does it soon.
    fn changed(mut self, what: What, now: Timestamp) -> Self {
        self.unrecorded.push(Change { at: now, by: String::new(), what });
        Self { watch_at: self.watch_at.min(now.plus(limits::JOB_WATCH)), ..self }
    }

    /// What happened to it last was this caller's wish.
    pub fn by(mut self, caller: &Caller) -> Self {
        if let Some(last) = self.unrecorded.last_mut() {
            last.by = caller.name().into();
        }
        self
    }

    /// Everything that happened to it is recorded.
    pub fn recorded(self) -> Self {
        Self { watch_at: self.next_look(), unrecorded: Vec::new(), ..self }
    }

    /// When its state alone wants it looked at.
    pub fn next_look(&self) -> Timestamp {
        match &self.state {
            State::Completed { expires, .. } => *expires,
            // Then the secret of its destination is to be erased.
            State::Failed { ended, expires, .. } => ended.plus(limits::SECRET_AFTER_END).min(*expires),
            State::Accepted | State::Planned { .. } | State::Cancelled { .. } => self.watch_at,
        }
    }

    /// The plan is stored, with so many ranges in so many chunks.
    pub fn planned(self, chunks: u32, ranges: u32, now: Timestamp) -> Result<Self, NotAllowed> {
        match self.state {
            State::Accepted => {
                Ok(Self { state: State::Planned { chunks, ranges }, watch_at: now.plus(limits::JOB_WATCH), ..self })
            }
            State::Planned { .. } | State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => {
                Err(NotAllowed)
            }
        }
    }

    /// Every chunk is done. Nothing is written any more, so the destination's secret goes.
    pub fn completed(
        self,
        (parts, totals): (Vec<Parts>, Totals),
        now: Timestamp,
        retention: Duration,
    ) -> Result<Self, NotAllowed> {
        let expires = now.plus(retention);
        match self.state {
            State::Planned { chunks, .. } if parts.len() == chunks as usize => Ok(Self {
                state: State::Completed { ended: now, expires, parts, totals },
                destination: self.destination.without_secret(),
                watch_at: expires,
                ..self
            }
            .changed(What::Completed { totals }, now)),
            State::Planned { .. }
            | State::Accepted
            | State::Completed { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => Err(NotAllowed),
        }
    }

    /// The export cannot be done. What it has written stays until the job is taken up again, expires or is deleted.
    pub fn failed(self, reason: String, now: Timestamp, retention: Duration) -> Result<Self, NotAllowed> {
        let planned = match self.state {
            State::Accepted => None,
            State::Planned { chunks, ranges } => Some((chunks, ranges)),
            State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => return Err(NotAllowed),
        };
        let what = What::Failed { reason: reason.clone() };
        let job = Self { state: State::Failed { ended: now, expires: now.plus(retention), reason, planned }, ..self };
        Ok(Self { watch_at: job.next_look(), ..job }.changed(what, now))
    }

    /// The caller wants a failed export to go on. Without its destination's secret it cannot.
    pub fn resumed(self, now: Timestamp) -> Result<Self, NotAllowed> {
        let erased = matches!(self.destination, Destination::Caller { secret: None, .. });
        let state = match self.state {
            State::Failed { .. } if erased => return Err(NotAllowed),
            State::Failed { planned: Some((chunks, ranges)), .. } => State::Planned { chunks, ranges },
            State::Failed { planned: None, .. } => State::Accepted,
            State::Accepted | State::Planned { .. } | State::Completed { .. } | State::Cancelled { .. } => {
                return Err(NotAllowed);
            }
        };
        Ok(Self { state, resumed: Some(now), watch_at: now.plus(limits::JOB_WATCH), ..self }
            .changed(What::Resumed, now))
    }

    /// The same job without its destination's secret, to be looked at again later.
    pub fn without_secret(self, again: Timestamp) -> Self {
        Self { destination: self.destination.without_secret(), watch_at: again, ..self }
    }

    /// The caller deleted the job. From here on its status is 404.
    pub fn cancelled(self, now: Timestamp) -> Result<Self, NotAllowed> {
        let what = if self.is_open() { What::Cancelled } else { What::Removed };
        self.closed(what, now)
    }

    /// The kick-off was answered with an error after all.
    pub fn withdrawn(self, now: Timestamp) -> Result<Self, NotAllowed> {
        self.closed(What::Withdrawn, now)
    }

    /// Its time is over.
    pub fn expired(self, now: Timestamp) -> Result<Self, NotAllowed> {
        self.closed(What::Expired, now)
    }

    fn closed(self, what: What, now: Timestamp) -> Result<Self, NotAllowed> {
        let theirs = matches!(self.destination, Destination::Caller { .. });
        let removes_files = match self.state {
            State::Cancelled { .. } => return Err(NotAllowed),
            State::Completed { .. } => !theirs,
            State::Accepted | State::Planned { .. } | State::Failed { .. } => true,
        };
        let state = State::Cancelled { ended: now, removes_files, cleaned: false, documents_until: None };
        Ok(Self { state, watch_at: now.plus(limits::JOB_WATCH), ..self }.changed(what, now))
    }

    /// Everything of the cancelled job is removed but its documents, which go at `last`.
    pub fn cleaned(self, last: Timestamp) -> Result<Self, NotAllowed> {
        match self.state {
            State::Cancelled { ended, removes_files, .. } => {
                let state = State::Cancelled { ended, removes_files, cleaned: true, documents_until: Some(last) };
                Ok(Self { state, ..self.without_secret(last) })
            }
            State::Accepted | State::Planned { .. } | State::Completed { .. } | State::Failed { .. } => Err(NotAllowed),
        }
    }

    /// The same job, to be looked at again later.
    pub fn watched(self, again: Timestamp) -> Self {
        Self { watch_at: again, ..self }
    }

    /// When the versions were made that belong to the export.
    pub fn window(&self) -> Window {
        Window::new(&self.asked, self.transaction_time)
    }

    /// Whether its chunks may still be worked on.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Accepted | State::Planned { .. } => true,
            State::Completed { .. } | State::Failed { .. } | State::Cancelled { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05.6789Z").unwrap()
    }

    fn accepted() -> Job {
        let lag = Duration::from_secs(120);
        Job::accepted(JobId::new(1), Asked::default(), Destination::Default, now(), lag)
    }

    const WEEK: Duration = Duration::from_secs(7 * 86400);

    #[test]
    fn the_transaction_time_is_the_kick_off_minus_the_lag_in_whole_milliseconds() {
        assert_eq!(accepted().transaction_time.last_modified(), "2026-01-02T03:02:05.6780000+00:00");
    }

    #[test]
    fn a_job_is_completed_only_with_the_parts_of_every_chunk() {
        let planned = accepted().planned(2, 5, now()).unwrap();
        let part = Parts { generation: 0, count: 1 };
        assert_eq!(planned.clone().completed((vec![part], Totals::default()), now(), WEEK), Err(NotAllowed));
        assert!(planned.completed((vec![part, part], Totals::default()), now(), WEEK).is_ok());
        assert_eq!(accepted().completed((vec![], Totals::default()), now(), WEEK), Err(NotAllowed));
    }

    #[test]
    fn a_closed_job_stays_closed() {
        let failed = accepted().failed("lost".into(), now(), WEEK).unwrap();
        assert_eq!(failed.clone().planned(1, 1, now()), Err(NotAllowed));
        assert_eq!(failed.clone().failed("again".into(), now(), WEEK), Err(NotAllowed));
        let cancelled = failed.clone().cancelled(now()).unwrap();
        assert_eq!(cancelled.clone().cancelled(now()), Err(NotAllowed));
        assert_eq!(cancelled.clone().resumed(now()), Err(NotAllowed));
        assert!(!cancelled.is_open());
    }

    #[test]
    fn a_failed_job_goes_on_where_it_was() {
        let planned = accepted().planned(2, 5, now()).unwrap();
        for job in [accepted(), planned] {
            let failed = job.clone().failed("lost".into(), now(), WEEK).unwrap();
            assert_eq!(failed.resumed(now()).unwrap().state, job.state);
        }
    }

    #[test]
    fn what_happens_to_a_job_waits_in_it_until_it_is_recorded() {
        let whats = |job: &Job| job.unrecorded.iter().map(|change| change.what.clone()).collect::<Vec<_>>();
        let planned = accepted().planned(0, 0, now()).unwrap();
        assert_eq!(whats(&planned), [What::Accepted]);
        let completed = planned.recorded().completed((vec![], Totals::default()), now(), WEEK).unwrap();
        assert_eq!(completed.watch_at, now().plus(limits::JOB_WATCH));
        let removed = completed.clone().cancelled(now()).unwrap();
        assert_eq!(whats(&removed), [What::Completed { totals: Totals::default() }, What::Removed]);
        let failed = accepted().failed("lost".into(), now(), WEEK).unwrap();
        assert_eq!(failed.recorded().watch_at, now().plus(limits::SECRET_AFTER_END));
        let recorded = completed.recorded();
        assert_eq!((whats(&recorded), recorded.watch_at), (vec![], now().plus(WEEK)));
        assert_eq!(whats(&recorded.expired(now()).unwrap()), [What::Expired]);
    }

    #[test]
    fn files_that_a_completed_export_left_with_the_caller_are_the_callers() {
        let container = super::super::destination::ContainerName::parse("theirs").unwrap();
        let endpoint = url::Url::parse("https://example.blob.core.windows.net/").unwrap();
        let theirs = Destination::Caller { account: "example".into(), endpoint, container, secret: None };
        let planned = Job { destination: theirs, ..accepted() }.planned(0, 0, now()).unwrap();
        let running = planned.clone().cancelled(now()).unwrap();
        assert!(matches!(running.state, State::Cancelled { removes_files: true, .. }));
        let completed = planned.completed((vec![], Totals::default()), now(), WEEK).unwrap().cancelled(now()).unwrap();
        assert!(matches!(completed.state, State::Cancelled { removes_files: false, .. }));
    }
}
