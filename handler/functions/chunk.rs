//! The step *chunk*: claims a chunk, reads it page by page until it is read or the time is up, and commits.

use std::sync::Arc;

use crate::bulk::about::About;
use crate::bulk::chunk::{Chunk, Claim, Pass, Position, Stopped, Totals};
use crate::bulk::context::Context;
use crate::bulk::document::Document;
use crate::bulk::job::Job;
use crate::bulk::line;
use crate::bulk::plan::Plan;
use crate::bulk::reading::{self, Matter, Reading};
use crate::bulk::record::Key;
use crate::bulk::selection::Selection;
use crate::bulk::step::{Outcome, Step};
use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, Expected, PortError, Slice, Versioned};

use super::commit::{Decides, Interrupted, Work};
use super::follow::Follow;
use super::store_pages::{self, Held};
use super::telling::Telling;
use super::{App, LostRange, group, report, restriction};

/// `step` gets the ticket with which it is to be sent again, and `done` what the step has recorded.
pub async fn run(app: &App, step: &mut Step, number: u32, done: &mut Totals) -> Result<Outcome, PortError> {
    let id = &step.job.clone();
    let Some(job) = app.open_job(id).await? else { return Ok(Outcome::Stale) };
    let plan = app.jobs.read::<Plan>(&Key::plan(id)).await?;
    let found = app.jobs.read::<Chunk>(&Key::chunk(id, number)).await?;
    if step.ticket.is_some_and(|ticket| ticket != found.ticket) {
        return Ok(Outcome::Stale);
    }
    let limits = &app.settings.limits;
    let (claimed, lost) = match (*found).clone().claim((app.random)(), app.now(), limits) {
        Claim::Claimed(chunk) => (*chunk, false),
        Claim::Stale => return Ok(Outcome::Stale),
        Claim::Exhausted if may_be_lost(app, &job, &plan, &found) => {
            match (*found).clone().resumed(app.now()).claim((app.random)(), app.now(), limits) {
                Claim::Claimed(chunk) => (*chunk, true),
                Claim::Stale | Claim::Exhausted => return Ok(Outcome::Stale),
            }
        }
        Claim::Exhausted => {
            app.fail(id, given_up(found.stopped, limits.claims)).await?;
            return Ok(Outcome::Done);
        }
    };
    let Some(chunk) = claim(app, found.with(claimed)).await? else { return Ok(Outcome::Stale) };

    let before = chunk.totals;
    let (decides, unread) = match decided_by(app, &job, &plan, number).await {
        Ok(decides) => (decides, None),
        Err(error) => (Decides::default(), Some(error)),
    };
    let mut work = Work::new(app, &job, &decides, chunk);
    let mut worked = match (unread, lost) {
        // Nothing is read of which nobody knows whether it is wanted.
        (Some(error), _) => Err(Interrupted::Trouble(error)),
        (None, true) => report_lost(&mut work, &plan).await,
        (None, false) => read_on(&mut work, &plan).await,
    };
    if let Err(Interrupted::Unread(_)) = worked
        && work.has_moved()
        && let Err(interrupted) = keep_what_was_read(&mut work, &plan).await
    {
        worked = Err(interrupted);
    }
    tell_rereads(&work);
    step.ticket = Some(work.chunk().ticket);
    *done = work.chunk().totals.since(&before);
    match worked {
        Ok(outcome) => Ok(outcome),
        Err(Interrupted::Lost) => Ok(Outcome::Stale),
        Err(Interrupted::Anew) => Ok(Outcome::Again),
        Err(Interrupted::Unwritten(error)) => {
            step.ticket = Some(put_down(app, work, Stopped::Writing, &error).await);
            Err(error)
        }
        Err(Interrupted::Unread(error) | Interrupted::Trouble(error)) => {
            step.ticket = Some(put_down(app, work, Stopped::Reading, &error).await);
            Err(error)
        }
        Err(Interrupted::Refused(error)) => {
            tracing::error!(job = %id, %error, "a destination refuses its credential");
            app.fail(id, app.why_refused(&job)).await?;
            Ok(Outcome::Done)
        }
    }
}

/// Whether the settings want an export to go on without what cannot be read: a range of the store, nothing of our own.
fn may_be_lost(app: &App, job: &Job, plan: &Plan, chunk: &Chunk) -> bool {
    let readings = reading::of_chunk(&job.asked, plan, chunk.number);
    let matter = readings.get(chunk.position.range as usize).map(|reading| reading.matter);
    app.settings.lost_range == LostRange::Report
        && chunk.stopped == Stopped::Reading
        && !matches!(matter, Some(Matter::Decision | Matter::Runs))
}

async fn decided_by(app: &App, job: &Job, plan: &Plan, number: u32) -> Result<Decides, PortError> {
    let telling = Telling::new(app, job, plan, number).await?;
    let readings = reading::of_chunk(&job.asked, plan, number);
    if readings.iter().all(|reading| matches!(reading.matter, Matter::Decision | Matter::Chosen | Matter::Runs)) {
        return Ok(Decides { selection: Selection::of_elements(job), telling, ..Decides::default() });
    }
    let restored = restriction::restored(app, job).await?;
    let members = group::members(app, job).await?;
    let about = About::of(&restored.asked).map(Arc::new);
    let strange = |_| PortError::new(ErrorKind::Broken, "understand the filters of an export");
    let selection = Selection::of(&restored, &app.settings.terms.public_url, members).map_err(strange)?;
    match job.asked.context {
        Context::Left => Ok(Decides { selection, telling, about, ..Decides::default() }),
        Context::Followed => {
            let follow = Some(Follow::new(app, job, plan, number, selection).await?);
            Ok(Decides { selection: Selection::of_elements(job), follow, telling, about })
        }
    }
}

/// Pages that are read twice make an export slower, and nothing else would show it.
fn tell_rereads(work: &Work<'_>) {
    let (pages, reason) = work.rereads;
    if pages > 0 {
        let (job, chunk) = (&work.job.id, work.chunk().number);
        tracing::warn!(%job, step = "chunk", chunk, pages, reason, "pages had to be read twice");
    }
}

/// Why a job is Failed whose chunk was claimed so often in vain.
fn given_up(stopped: Stopped, claims: u32) -> String {
    match stopped {
        Stopped::Reading => format!("a part of the store could not be read in {claims} attempts"),
        Stopped::Writing => {
            format!("a part of the export could not be written to the destination in {claims} attempts")
        }
    }
}

/// Writes the claim. `None` if someone else was faster; one's own claim whose answer was lost is found again.
async fn claim(app: &App, claimed: Versioned<Chunk>) -> Result<Option<Versioned<Chunk>>, PortError> {
    if let Some(chunk) = app.jobs.write(claimed.clone()).await.unless_conflict()? {
        return Ok(Some(chunk));
    }
    let found = app.jobs.read::<Chunk>(&Key::chunk(&claimed.job, claimed.number)).await?;
    Ok(Some(found).filter(|found| **found == *claimed))
}

async fn read_on(work: &mut Work<'_>, plan: &Plan) -> Result<Outcome, Interrupted> {
    let app = work.app;
    if work.chunk().discarding {
        work.discard().await?;
        return Ok(Outcome::Again);
    }
    let readings = reading::of_chunk(&work.job.asked, plan, work.chunk().number);
    let end = app.now().plus(app.settings.limits.step);
    let mut ahead = None;
    // A page that was read ahead is paid for: it is taken in, however late it is.
    while app.now() < end || ahead.is_some() {
        let Some(reading) = readings.get(work.position().range as usize) else {
            work.finish(readings.len()).await?;
            report::chunk(app, work.chunk(), plan.chunks).await;
            return Ok(Outcome::Done);
        };
        if !work.turn_to(reading) {
            continue;
        }
        if reading.matter == Matter::Decision {
            work.decide().await?;
            stop_if_closed(app, work.job).await?;
            continue;
        }
        ahead = if reading.matter == Matter::Runs {
            work.arrange(plan).await.map(|()| None)?
        } else {
            read_page(work, reading, ahead, end).await?
        };
        if let Some(too_fast) = work.ahead_of_ceiling() {
            work.pause(app.now().plus(too_fast)).await?;
            report::chunk(app, work.chunk(), plan.chunks).await;
            return Ok(Outcome::Later(too_fast));
        }
        if work.wants_checkpoint() {
            work.checkpoint().await?;
            report::chunk(app, work.chunk(), plan.chunks).await;
        }
        stop_if_closed(app, work.job).await?;
    }
    work.pause(app.now()).await?;
    report::chunk(app, work.chunk(), plan.chunks).await;
    Ok(Outcome::Again)
}

/// A running step stops at the next page after its job was closed. Whether it was is asked cheaply; that it cannot be
/// asked stops nothing.
async fn stop_if_closed(app: &App, job: &Job) -> Result<(), Interrupted> {
    match app.open_job(&job.id).await {
        Ok(None) => Err(Interrupted::Lost),
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// Takes in the page at the position, which may have been read ahead. Gives the one behind it, read meanwhile.
async fn read_page<'a>(
    work: &mut Work<'a>,
    reading: &Reading,
    ahead: Option<Held<'a>>,
    end: Timestamp,
) -> Result<Option<Held<'a>>, Interrupted> {
    let position = work.position().clone();
    let (range, window, types) = (reading.range.clone(), work.window_read(), work.types.clone());
    let pass = reading.matter.pass(position.pass);
    let about = work.about.filter(|_| reading.matter.is_of_patients()).cloned();
    let slice = Slice { range, pass, window, types, about };
    let app = work.app;
    let held = match ahead {
        Some(held) => held,
        None => store_pages::read(app, &slice, position.cursor.as_deref()).await,
    };
    let page = held.page.map_err(Interrupted::Unread)?;
    if let Some(reason) = page.reread {
        work.rereads = (work.rereads.0 + 1, reason);
    }
    let taken_in = take_in(work, reading, pass, &page.documents);
    let (taken_in, ahead) = futures::join!(taken_in, store_pages::read_ahead(app, &slice, page.next.as_deref(), end));
    taken_in?;
    let next = match (page.next, pass) {
        (Some(cursor), _) => Position { cursor: Some(cursor), ..position },
        (None, Pass::Current) if slice.about.is_some() => Position { pass: Pass::Indexed, cursor: None, ..position },
        // What was superseded while the first pass was under way is complete only now.
        (None, Pass::Current | Pass::Indexed) => Position { pass: Pass::History, cursor: None, ..position },
        (None, Pass::History) => Position { pass: Pass::Changed, cursor: None, ..position },
        (None, Pass::Changed | Pass::Superseded) => Position { range: position.range + 1, ..Position::default() },
    };
    work.page_read(next, page.request_charge);
    Ok(ahead)
}

/// Adds what a page holds to the export.
async fn take_in(
    work: &mut Work<'_>,
    reading: &Reading,
    pass: Pass,
    documents: &[Document],
) -> Result<(), Interrupted> {
    work.append_notes_of_request().await?;
    match (pass, reading.matter) {
        (Pass::Current, Matter::Everything) => {
            for document in documents {
                work.append(document).await?;
            }
            Ok(())
        }
        (Pass::Indexed | Pass::History, Matter::Everything) => work.append_missed(documents).await,
        (Pass::Changed, Matter::Everything) => work.tell_undocumented(&reading.range, documents.iter().collect()).await,
        (Pass::Superseded, _) => work.append_superseded(documents).await,
        (Pass::Current, _) => work.follow(documents.iter().collect()).await,
        (Pass::Indexed | Pass::History, _) => {
            let missed = work.unlogged(documents.iter().collect()).await?;
            work.follow(missed).await
        }
        (Pass::Changed, _) => {
            let wanted = work.would_follow(documents).await?;
            work.tell_undocumented(&reading.range, wanted).await
        }
    }
}

/// The rest of the range at the position cannot be read, and the settings want the export to go on without it: an outcome
/// in the error file names it.
async fn report_lost(work: &mut Work<'_>, plan: &Plan) -> Result<Outcome, Interrupted> {
    let position = work.position().clone();
    let readings = reading::of_chunk(&work.job.asked, plan, work.chunk().number);
    if let Some(Reading { range, .. }) = readings.get(position.range as usize) {
        tracing::error!(job = %work.job.id, min = range.min, max = range.max, "a range is left out of an export");
        work.append_notes_of_request().await?;
        work.append_note(&line::lost_range(range)).await?;
        work.page_read(Position { range: position.range + 1, ..Position::default() }, 0.0);
    }
    work.pause(work.app.now()).await?;
    Ok(Outcome::Again)
}

/// The next page cannot be read now: what was read before it shall not be read again, and it tells that the chunk gets
/// further, however slowly.
async fn keep_what_was_read(work: &mut Work<'_>, plan: &Plan) -> Result<(), Interrupted> {
    work.checkpoint().await?;
    report::chunk(work.app, work.chunk(), plan.chunks).await;
    Ok(())
}

/// After trouble: frees the chunk for the next claim, as far as it can be written. Gives the ticket of its message.
///
/// Passing troubles do not count against the chunk.
async fn put_down(app: &App, work: Work<'_>, stopped: Stopped, error: &PortError) -> u32 {
    let saved = work.into_saved();
    let freed = match error.worth_retrying() {
        Some(after) => (*saved).clone().postponed(app.now().plus(after)),
        None => (*saved).clone().given_back(stopped, app.now()),
    };
    let ticket = freed.ticket;
    // Best effort: if this write does not succeed, the watch takes up the chunk at the end of its lease.
    if let Err(second) = app.jobs.write(saved.with(freed)).await {
        tracing::warn!(job = %saved.job, error = %second, "a chunk stays claimed until its lease ends");
    }
    ticket
}
