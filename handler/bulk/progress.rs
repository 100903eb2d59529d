//! What a client that polls is told about an export that still runs (requirements ST-12 to ST-14).

use std::time::Duration;

use super::job::{Job, State};
use super::summary::Summary;
use super::timestamp::Timestamp;

/// `X-Progress`: starts with an integer percentage, since a well-known client reads it as a number, and has fewer than
/// 100 characters.
pub fn progress(job: &Job, summary: &Summary) -> String {
    let totals = summary.totals();
    let State::Planned { ranges, .. } = job.state else {
        return "0% complete, not started yet".into();
    };
    let read = summary.ranges().min(ranges);
    let percent = percent(read, ranges);
    format!("{percent}% complete, {read} of {ranges} ranges, {} resources, {} bytes", totals.resources, totals.bytes)
}

/// How much of an open export is done: 100 % is said by its end alone.
pub fn percent(read: u32, ranges: u32) -> u64 {
    (u64::from(read) * 100 / u64::from(ranges.max(1))).min(99)
}

/// `Retry-After` in whole seconds: short for a young export, growing with its age (ST-14).
pub fn retry_after(age: Duration) -> u64 {
    (age.as_secs() / 10).clamp(1, 60)
}

/// Age of a job that runs.
pub fn age(job: &Job, now: Timestamp) -> Duration {
    now.since(job.created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::asked::Asked;
    use crate::bulk::chunk::Chunk;
    use crate::bulk::destination::Destination;
    use crate::bulk::job_id::JobId;

    #[test]
    fn progress_begins_with_a_percentage_and_stays_short() {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let id = JobId::new(1);
        let job = Job::accepted(id.clone(), Asked::default(), Destination::Default, now, Duration::ZERO);
        assert_eq!(progress(&job, &Summary::new(id.clone())), "0% complete, not started yet");
        let job = job.planned(2, 3, now).unwrap();
        let mut chunk = Chunk::new(id.clone(), 0, now);
        chunk.position.range = 2;
        chunk.totals.resources = u64::MAX / 2;
        chunk.totals.bytes = u64::MAX / 2;
        let told = progress(&job, &Summary::new(id).with(&chunk, now));
        assert!(told.starts_with("66% complete, 2 of 3 ranges") && told.len() < 100, "{told}");
    }

    #[test]
    fn the_pause_grows_with_age() {
        let pauses = [0, 30, 300, 100_000].map(|age| retry_after(Duration::from_secs(age)));
        assert_eq!(pauses, [1, 3, 30, 60]);
    }
}
