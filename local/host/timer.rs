//! Fires timer functions.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::sleep;

use super::functions::TimerTrigger;
use super::invocation::Invoker;
use super::payload::{self, ScheduleStatus, Sys, offset_date};

/// What .NET shows for a timer that has not fired yet.
const NEVER: &str = "0001-01-01T00:00:00+00:00";

/// Fires until the host stops. An invocation that outlasts its interval lets the missed times pass, as in Azure.
pub async fn run(function: String, trigger: TimerTrigger, invoker: Arc<Invoker>, mut stop: watch::Receiver<bool>) {
    let mut last = None;
    let mut next = match trigger.run_on_startup {
        true => Some(OffsetDateTime::now_utc()),
        false => trigger.schedule.next(OffsetDateTime::now_utc()),
    };
    while let Some(due) = next {
        let wait = (due - OffsetDateTime::now_utc()).try_into().unwrap_or_default();
        tokio::select! {
            () = sleep(wait) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
        let status = status(&trigger, last, due);
        let payload = payload::of_timer(&trigger.binding, status, Sys::of(&function, OffsetDateTime::now_utc()));
        // A failed tick is logged by the invoker; the next one comes by the schedule, never earlier.
        let _ = invoker.invoke(&function, payload).await;
        last = Some(due);
        next = trigger.schedule.next(OffsetDateTime::now_utc().max(due));
    }
}

fn status(trigger: &TimerTrigger, last: Option<OffsetDateTime>, due: OffsetDateTime) -> Option<ScheduleStatus> {
    let last = last.map_or_else(|| NEVER.to_owned(), offset_date);
    let next = trigger.schedule.next(due)?;
    trigger.schedule.is_monitored(due).then(|| ScheduleStatus {
        last_updated: last.clone(),
        last,
        next: offset_date(next),
    })
}
