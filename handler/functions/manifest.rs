//! Hands out the manifest of an export: whole when it is complete, or in pages while it runs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::destination::Destination;
use crate::bulk::file::{FileRecord, Files};
use crate::bulk::job::{Job, Parts};
use crate::bulk::listing::{Listed, Listing};
use crate::bulk::manifest::{self, Access, Piece};
use crate::bulk::page::Page;
use crate::bulk::record::Key;
use crate::bulk::rejection::Rejection;
use crate::bulk::summary::Summary;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, Expected, Output, PortError};

use super::{App, Delivery, Failure, READERS, start};

/// The bytes of a manifest. One of ten thousand files is never in memory as a whole.
pub type Body = BoxStream<'static, Result<Bytes, PortError>>;

/// Bytes of a manifest that are sent at a time.
const BATCH: usize = 32 * 1024;

/// Which chunks are done.
pub enum Done<'a> {
    /// All of them.
    All(&'a [Parts]),
    /// Those that are done so far: the summary says where it is worth to look.
    SoFar(&'a Summary),
}

/// A page that was handed out, now or before.
pub struct Shown {
    page: Page,
    /// Whether something comes after it.
    has_next: bool,
}

/// The manifest with all files of a completed export. Its records are read before the first byte is sent.
pub async fn whole(app: &App, job: &Job, parts: &[Parts], until: Timestamp) -> Result<Body, PortError> {
    written(app, job, files(app, job, parts).await?, None, until).await
}

/// The records of all files of a completed export.
pub(super) async fn files(app: &App, job: &Job, parts: &[Parts]) -> Result<Vec<Listed>, PortError> {
    let mut reads = Vec::new();
    for (chunk, parts) in (0..).zip(parts) {
        reads.extend((0..parts.count).map(|part| async move {
            let records = recorded(app, Key::files(&job.id, chunk, parts.generation, part)).await?;
            Ok::<_, PortError>(listed(records, Listing::Part { chunk, part }))
        }));
    }
    let files: Vec<Vec<Listed>> = stream::iter(reads).buffered(READERS).try_collect().await?;
    Ok(files.into_iter().flatten().collect())
}

fn listed(records: Vec<FileRecord>, listing: Listing) -> Vec<Listed> {
    records.into_iter().map(|record| Listed { record, listing }).collect()
}

/// A page, as it was frozen.
pub async fn of_page(app: &App, job: &Job, shown: Shown, until: Timestamp) -> Result<Body, PortError> {
    let next = format!("{}?page={}", start::status_url(app, &job.id), shown.page.number + 1);
    let files = listed(shown.page.files, Listing::Page(shown.page.number));
    written(app, job, files, shown.has_next.then_some(next.as_str()), until).await
}

/// Page `number`; `None` while there is nothing to list on it yet.
pub async fn page(app: &App, job: &Job, done: &Done<'_>, number: u32) -> Result<Option<Shown>, Failure> {
    let key = Key::page(&job.id, number);
    let page = match app.jobs.read::<Page>(&key).await.found()? {
        Some(page) => page.into_value(),
        None => match new_page(app, job, done, number).await? {
            Some(page) => freeze(app, page).await?,
            None => return Ok(None),
        },
    };
    let has_next = has_next(app, job, done, &page).await?;
    Ok(Some(Shown { page, has_next }))
}

/// What the page would hold if it were handed out now.
async fn new_page(app: &App, job: &Job, done: &Done<'_>, number: u32) -> Result<Option<Page>, Failure> {
    let before = match number {
        1 => None,
        _ => match app.certain::<Page>(&Key::page(&job.id, number - 1)).await? {
            Some(before) => Some(before.into_value()),
            None => return Err(no_such_page(number)),
        },
    };
    let mut page = Page::after(&job.id, before.as_ref());
    fill(app, job, done, &mut page).await?;
    match (page.files.is_empty(), done) {
        (true, Done::SoFar(_)) => Ok(None),
        // An export without any file has one page all the same.
        (true, Done::All(_)) if number > 1 => Err(no_such_page(number)),
        (true, Done::All(_)) | (false, _) => Ok(Some(page)),
    }
}

fn no_such_page(number: u32) -> Failure {
    Rejection::not_found(format!("The manifest of this export has no page {number}: follow its links.")).into()
}

/// The first writer wins; whoever comes second shows what the first one froze.
async fn freeze(app: &App, page: Page) -> Result<Page, PortError> {
    let key = Key::page(&page.job, page.number);
    match app.jobs.create(&page.clone().into()).await.unless_conflict()? {
        Some(()) => Ok(page),
        None => match app.certain::<Page>(&key).await? {
            Some(page) => Ok(page.into_value()),
            None => Err(PortError::new(ErrorKind::Unavailable, format!("read {}: it was there", key.id))),
        },
    }
}

/// The next page exists or has something to list. What was handed out is never denied again: where the summary lags
/// behind, the page itself tells.
async fn has_next(app: &App, job: &Job, done: &Done<'_>, page: &Page) -> Result<bool, PortError> {
    if let Done::SoFar(_) = done
        && app.jobs.read::<Page>(&Key::page(&job.id, page.number + 1)).await.found()?.is_some()
    {
        return Ok(true);
    }
    let mut next = Page::after(&job.id, Some(page));
    learn(app, job, done, &mut next).await?;
    Ok(next.taken.iter().any(|taken| next.next_part(taken.chunk).is_some()))
}

async fn fill(app: &App, job: &Job, done: &Done<'_>, page: &mut Page) -> Result<(), PortError> {
    learn(app, job, done, page).await?;
    for chunk in page.taken.iter().map(|taken| taken.chunk).collect::<Vec<_>>() {
        let Some(parts) = page.parts(chunk) else { continue };
        while let Some(part) = page.next_part(chunk).filter(|_| !page.is_full()) {
            let records = recorded(app, Key::files(&job.id, chunk, parts.generation, part)).await?;
            page.take(chunk, &records);
        }
    }
    Ok(())
}

/// Tells the page of every chunk that is done. The summary is a hint; the chunk's own document decides.
async fn learn(app: &App, job: &Job, done: &Done<'_>, page: &mut Page) -> Result<(), PortError> {
    let known = match done {
        Done::All(parts) => (0..).zip(parts.iter().copied()).collect(),
        Done::SoFar(summary) => {
            let hints = summary.chunks.iter().filter(|chunk| chunk.done && page.parts(chunk.number).is_none());
            let looks: Vec<_> = hints.map(|chunk| parts_when_done(app, job, chunk.number)).collect();
            let looked: Vec<Option<(u32, Parts)>> = stream::iter(looks).buffered(READERS).try_collect().await?;
            looked.into_iter().flatten().collect::<Vec<_>>()
        }
    };
    known.into_iter().for_each(|(chunk, parts)| page.know(chunk, parts));
    Ok(())
}

async fn parts_when_done(app: &App, job: &Job, number: u32) -> Result<Option<(u32, Parts)>, PortError> {
    let chunk = app.jobs.read::<Chunk>(&Key::chunk(&job.id, number)).await.found()?;
    let done = chunk.filter(|chunk| chunk.state == ChunkState::Done);
    Ok(done.map(|chunk| (number, Parts { generation: chunk.generation, count: chunk.parts })))
}

/// The records of one part. Its job or its chunk says that it exists: one that cannot be found is trouble, never an empty
/// one.
pub(super) async fn recorded(app: &App, key: Key) -> Result<Vec<FileRecord>, PortError> {
    match app.jobs.read::<Files>(&key).await {
        Ok(part) => Ok(part.into_value().files),
        Err(error) if error.kind == ErrorKind::NotFound => {
            Err(PortError::new(ErrorKind::Unavailable, format!("find {} of an export", key.id)))
        }
        Err(error) => Err(error),
    }
}

/// The manifest as it goes out: links are made on the way, the first of them before anything is answered.
async fn written(
    app: &App,
    job: &Job,
    files: Vec<Listed>,
    next: Option<&str>,
    until: Timestamp,
) -> Result<Body, PortError> {
    let (urls, version) = (Urls::of(Links::of(app, job, until).await?, &files), job.asked.version);
    let pieces = manifest::pieces(job, files, urls.links.access(), next).into_iter();
    let batches = stream::try_unfold((pieces, urls), move |(mut pieces, mut urls)| async move {
        let mut text = String::new();
        while text.len() < BATCH {
            match pieces.next() {
                Some(Piece::Text(piece)) => text.push_str(&piece),
                Some(Piece::File(file)) => {
                    let (url, next) = (urls.to(&file).await?, urls.behind(&file).await?);
                    text.push_str(&manifest::entry(&file.record, &url, next.as_deref(), version));
                }
                None => break,
            }
        }
        Ok((!text.is_empty()).then(|| (Bytes::from(text), (pieces, urls))))
    });
    let mut batches = batches.boxed();
    let first = batches.try_next().await?;
    Ok(stream::iter(first.map(Ok)).chain(batches).boxed())
}

/// The URLs of a manifest: that of a file in which a block goes on is the same wherever it stands (MF-08), however links are
/// made.
struct Urls {
    links: Links,
    /// The files in which blocks go on, by the names of their blobs, with the URL once there is one.
    behind: HashMap<String, (Listed, Option<String>)>,
}

impl Urls {
    fn of(links: Links, files: &[Listed]) -> Self {
        let names: HashSet<&String> = files.iter().filter_map(|file| file.record.continues_in.as_ref()).collect();
        let behind = files.iter().filter(|file| names.contains(&file.record.name));
        let behind = behind.map(|file| (file.record.name.clone(), (file.clone(), None))).collect();
        Self { links, behind }
    }

    async fn to(&mut self, file: &Listed) -> Result<String, PortError> {
        match self.behind.get_mut(&file.record.name) {
            None => self.links.to(file).await,
            Some((_, Some(url))) => Ok(url.clone()),
            Some((_, url)) => Ok(url.insert(self.links.to(file).await?).clone()),
        }
    }

    /// Where the last block of a file goes on.
    async fn behind(&mut self, file: &Listed) -> Result<Option<String>, PortError> {
        let Some(name) = &file.record.continues_in else { return Ok(None) };
        let next = self.behind.get(name).map(|(file, _)| file.clone());
        let unknown = || PortError::new(ErrorKind::Broken, "find the file in which a block goes on");
        self.to(&next.ok_or_else(unknown)?).await.map(Some)
    }
}

/// How the files of an export are reached.
pub(super) enum Links {
    /// In the caller's own container, by the caller's own credential.
    Bare(Destination),
    /// In the default destination, by anyone who has the link.
    Signed(Arc<dyn Output>, Timestamp),
    /// At this server, below this URL.
    Here(String),
}

impl Links {
    pub(super) async fn of(app: &App, job: &Job, until: Timestamp) -> Result<Self, PortError> {
        match (&job.destination, app.settings.delivery) {
            (Destination::Caller { .. }, _) => Ok(Self::Bare(job.destination.clone().without_secret())),
            (Destination::Default, Delivery::Sas) => Ok(Self::Signed(app.output(job).await?, until)),
            (Destination::Default, Delivery::Redirect | Delivery::Proxy) => {
                Ok(Self::Here(format!("{}/files", start::status_url(app, &job.id))))
            }
        }
    }

    pub(super) fn access(&self) -> Access {
        match self {
            Self::Bare(_) | Self::Signed(..) => Access::Open,
            Self::Here(_) => Access::AsTheServer,
        }
    }

    pub(super) async fn to(&self, file: &Listed) -> Result<String, PortError> {
        match self {
            Self::Bare(destination) => {
                let url = destination.bare_url(&file.record.name).map(String::from);
                url.ok_or_else(|| PortError::new(ErrorKind::Broken, "name a file in a caller's container"))
            }
            Self::Signed(output, until) => output.link(&file.record.name, *until).await,
            Self::Here(files) => Ok(format!("{files}/{}", file.name())),
        }
    }
}
