//! `ExportFiles`: hands out a file of the default destination, as a short-lived link to it or as its bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::bulk::audit::{self as audited, Incident};
use crate::bulk::caller::Caller;
use crate::bulk::destination::Destination;
use crate::bulk::file::FileRecord;
use crate::bulk::job::{Job, State};
use crate::bulk::limits;
use crate::bulk::listing::{FileName, Listing, last_segment};
use crate::bulk::page::Page;
use crate::bulk::record::Key;
use crate::bulk::rejection::Rejection;
use crate::bulk::timestamp::Timestamp;
use crate::bulk::transfer::{Conditions, Stored, Transfer, transfer};
use crate::ports::{ErrorKind, Output, PortError};

use super::manifest::recorded;
use super::status::known;
use super::{App, Delivery, Failure, audit};

/// The bytes of a file, as they come.
pub type Body = BoxStream<'static, Result<Bytes, PortError>>;

/// How a file is handed out.
pub enum HandedOut {
    /// Where it can be fetched without a token, for a short time.
    Link(String),
    File(File),
}

/// What is sent of a file.
pub struct File {
    pub stored: Stored,
    /// What a client may call it.
    pub name: String,
    pub transfer: Transfer,
    /// The bytes of [`Transfer::Whole`] or [`Transfer::Part`], unless the client asked for the head alone.
    pub body: Option<Body>,
}

/// What of a file a client asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// What is told of it, without a byte.
    Head(Conditions),
    Content(Conditions),
}

/// A link that a request is redirected to is followed at once; a download that has begun goes on after its end.
const LINK: Duration = Duration::from_secs(5 * 60);

/// Bytes that are asked of the destination at a time. They are passed on as they come, and never gathered.
const PIECE: u64 = 8 << 20;

pub async fn run(app: &App, caller: &Caller, id: &str, name: &str, wanted: &Wanted) -> Result<HandedOut, Failure> {
    let job = known(app, (caller, audited::Wanted::File), id).await?;
    let file = listed(app, &job, name).await?;
    let output = app.output(&job).await?;
    // A manifest may have been made before the settings were changed: its URLs lead to the files all the same.
    if app.settings.delivery != Delivery::Proxy {
        let until = app.now().plus(LINK.min(app.settings.link_lifetime));
        let link = output.link(&file.name, until).await?;
        let handed_out = Incident::Downloaded { job: &job, file: &file.name, bytes: file.held.bytes };
        audit::tell(app, caller.name(), handed_out).await;
        return Ok(HandedOut::Link(link));
    }
    let stored = match output.properties(&file.name).await {
        Err(error) if error.kind == ErrorKind::NotFound => {
            tracing::error!(job = %job.id, %error, "a file that is recorded is gone");
            return Err(no_such_file());
        }
        other => other?,
    };
    let name = last_segment(&file.name).to_owned();
    let (transfer, body) = match wanted {
        // A range means nothing to who asks for no bytes.
        Wanted::Head(conditions) => {
            (transfer(&Conditions { range: String::new(), ..conditions.clone() }, &stored), None)
        }
        Wanted::Content(conditions) => {
            let transfer = transfer(conditions, &stored);
            let body = match transfer {
                Transfer::Whole => Some(content(app, output, file.name, 0, stored.bytes).await?),
                Transfer::Part { from, to } => Some(content(app, output, file.name, from, to).await?),
                Transfer::NotModified | Transfer::Changed | Transfer::OutOfRange | Transfer::OtherCoding => None,
            };
            (transfer, body)
        }
    };
    if body.is_some() {
        let bytes = match transfer {
            Transfer::Part { from, to } => to - from,
            Transfer::Whole => stored.bytes,
            Transfer::NotModified | Transfer::Changed | Transfer::OutOfRange | Transfer::OtherCoding => 0,
        };
        audit::tell(app, caller.name(), Incident::Downloaded { job: &job, file: &name, bytes }).await;
    }
    Ok(HandedOut::File(File { stored, name, transfer, body }))
}

/// The record of the file, if a manifest lists it under this name: of all that lies in the destination nothing else can be
/// asked for.
async fn listed(app: &App, job: &Job, name: &str) -> Result<FileRecord, Failure> {
    let name = FileName::parse(name).ok_or_else(no_such_file)?;
    if !is_ours(job, app.now()) {
        return Err(no_such_file());
    }
    let records = match (name.listing, &job.state) {
        (Listing::Part { chunk, part }, State::Completed { parts, .. }) => {
            let parts = parts.get(chunk as usize).filter(|parts| part < parts.count).ok_or_else(no_such_file)?;
            recorded(app, Key::files(&job.id, chunk, parts.generation, part)).await?
        }
        // A page lists files that are never taken back, whatever becomes of the export.
        (Listing::Page(number), State::Planned { .. } | State::Completed { .. } | State::Failed { .. }) => {
            let page = app.certain::<Page>(&Key::page(&job.id, number)).await?.ok_or_else(no_such_file)?;
            page.into_value().files
        }
        (Listing::Part { .. }, State::Accepted | State::Planned { .. } | State::Failed { .. })
        | (Listing::Page(_), State::Accepted)
        | (_, State::Cancelled { .. }) => return Err(no_such_file()),
    };
    records.into_iter().find(|record| name.is_of(&job.id, record)).ok_or_else(no_such_file)
}

/// Files of a destination that the caller named are never passed on: they are the caller's. What is expired or deleted is
/// gone at once, though its removal takes a while.
fn is_ours(job: &Job, now: Timestamp) -> bool {
    let expired = match job.state {
        State::Completed { expires, .. } | State::Failed { expires, .. } => expires <= now,
        State::Accepted | State::Planned { .. } => false,
        State::Cancelled { .. } => true,
    };
    job.destination == Destination::Default && !expired
}

fn no_such_file() -> Failure {
    Rejection::not_found("There is no such file of this export, or it is not there any more.").into()
}

/// Bytes `from` up to `to` of a blob: exactly so many, or an error in the end. The first of them have been asked for before
/// anything is answered.
async fn content(app: &App, output: Arc<dyn Output>, blob: String, from: u64, to: u64) -> Result<Body, PortError> {
    let mut sending = Sending { app: app.clone(), output, blob, at: from, to, started: app.now(), piece: None };
    sending.open().await?;
    Ok(stream::try_unfold(sending, async |mut sending| Ok(sending.next().await?.map(|bytes| (bytes, sending)))).boxed())
}

/// A download that is under way.
struct Sending {
    app: App,
    output: Arc<dyn Output>,
    blob: String,
    /// The byte that comes next.
    at: u64,
    to: u64,
    started: Timestamp,
    /// What is being read, and the byte after it.
    piece: Option<(Body, u64)>,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<Bytes>, PortError> {
        while self.at < self.to || self.piece.is_some() {
            if self.app.now().since(self.started) >= limits::DOWNLOAD {
                return Err(self.broken("it has taken too long"));
            }
            let Some((body, end)) = &mut self.piece else {
                self.open().await?;
                continue;
            };
            match body.try_next().await? {
                Some(bytes) if self.at + bytes.len() as u64 > *end => return Err(self.broken("there is more of it")),
                Some(bytes) => {
                    self.at += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                // An end too soon must never look like the end of the file.
                None if self.at < *end => return Err(self.broken("it broke off")),
                None => self.piece = None,
            }
        }
        Ok(None)
    }

    async fn open(&mut self) -> Result<(), PortError> {
        let end = self.to.min(self.at + PIECE);
        self.piece = Some((self.output.stream(&self.blob, self.at, end).await?, end));
        Ok(())
    }

    fn broken(&self, why: &str) -> PortError {
        PortError::new(ErrorKind::Unavailable, format!("send {} from byte {} on: {why}", self.blob, self.at))
    }
}
