//! How many refused tokens are recorded each by itself: anybody can send them, and nobody shall flood the auditors.

use std::collections::BTreeMap;
use std::time::Duration;

use super::audit::Wanted;
use super::rejection::Rejection;
use super::timestamp::Timestamp;

/// Of one reason so many are recorded each by itself in a [`SPAN`]; of the others their number, when it is over.
const SINGLY: u64 = 10;
pub const SPAN: Duration = Duration::from_secs(60);

/// What is told apart. The client has no say in any of it, so these are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    pub wanted: Wanted,
    pub status: u16,
    pub code: &'static str,
}

impl Reason {
    pub fn of(wanted: Wanted, rejection: &Rejection) -> Self {
        Self { wanted, status: rejection.status, code: rejection.code }
    }
}

/// How a refused token is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    ByItself,
    InTheRest,
}

/// The number of those that were not recorded each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub reason: Reason,
    pub count: u64,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// What was refused since the span began, with the first refusal in it.
#[derive(Debug, Default)]
pub struct Denials {
    from: Option<Timestamp>,
    counts: BTreeMap<Reason, u64>,
}

impl Denials {
    /// Counts one more, after [`Denials::over`].
    pub fn count(&mut self, reason: Reason, now: Timestamp) -> Recorded {
        self.from.get_or_insert(now);
        let count = self.counts.entry(reason).or_default();
        *count = count.saturating_add(1);
        if *count <= SINGLY { Recorded::ByItself } else { Recorded::InTheRest }
    }

    /// What is left to be recorded of a span that is over. Then the next one may begin.
    pub fn over(&mut self, now: Timestamp) -> Vec<Rest> {
        let Some(from) = self.from.filter(|from| now.since(*from) >= SPAN) else { return Vec::new() };
        let counts = std::mem::take(self).counts.into_iter();
        let rest = |(reason, count): (Reason, u64)| {
            let count = count.checked_sub(SINGLY).filter(|count| *count > 0)?;
            Some(Rest { reason, count, from, until: now })
        };
        counts.filter_map(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Reason = Reason { wanted: Wanted::KickOff, status: 401, code: "login" };
    const EXPIRED: Reason = Reason { wanted: Wanted::Status, status: 401, code: "expired" };

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").unwrap().plus(Duration::from_millis(milliseconds))
    }

    /// Refuses at these times. Gives how many were recorded by themselves, and what was told of the rest.
    fn refused(denials: &mut Denials, reason: Reason, times: impl IntoIterator<Item = u64>) -> (usize, Vec<Rest>) {
        let (mut singly, mut rest) = (0, Vec::new());
        for now in times.into_iter().map(at) {
            rest.extend(denials.over(now));
            singly += usize::from(denials.count(reason, now) == Recorded::ByItself);
        }
        (singly, rest)
    }

    #[test]
    fn a_few_are_recorded_each_by_itself() {
        let mut denials = Denials::default();
        for minute in 0..5 {
            let times = (0..10).map(|n| minute * 60_000 + n);
            assert_eq!(refused(&mut denials, LOGIN, times), (10, vec![]));
        }
        assert_eq!(denials.over(at(600_000)), []);
    }

    #[test]
    fn a_flood_leaves_ten_records_a_minute_and_one_with_the_number() {
        let mut denials = Denials::default();
        // A thousand a second, for three minutes.
        let (singly, rest) = refused(&mut denials, LOGIN, 0..180_000);
        assert_eq!(singly, 30);
        let told: Vec<_> = rest.iter().map(|rest| (rest.count, rest.from, rest.until)).collect();
        assert_eq!(told, [(59_990, at(0), at(60_000)), (59_990, at(60_000), at(120_000))]);
        assert_eq!(denials.over(at(179_999)), []);
        let last = denials.over(at(180_000));
        assert_eq!(last, [Rest { reason: LOGIN, count: 59_990, from: at(120_000), until: at(180_000) }]);
        assert_eq!(denials.over(at(900_000)), [], "it is told once");
    }

    #[test]
    fn each_reason_counts_for_itself() {
        let mut denials = Denials::default();
        assert_eq!(refused(&mut denials, LOGIN, 0..1000), (10, vec![]));
        assert_eq!(refused(&mut denials, EXPIRED, 1000..1012), (10, vec![]));
        let rest = denials.over(at(70_000));
        assert_eq!(rest.iter().map(|rest| (rest.reason, rest.count)).collect::<Vec<_>>(), [(LOGIN, 990), (EXPIRED, 2)]);
    }

    #[test]
    fn a_clock_that_is_set_back_starts_no_new_span() {
        let mut denials = Denials::default();
        assert_eq!(refused(&mut denials, LOGIN, 50_000..50_020), (10, vec![]));
        assert_eq!(refused(&mut denials, LOGIN, 0..20), (0, vec![]));
        assert_eq!(denials.over(at(110_000))[0].count, 30);
    }
}
