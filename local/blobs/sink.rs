//! A blob service that checks what it is given and keeps almost nothing of it, so that any amount can be written.
//!
//! Any signature is accepted. `GET /_blobs` lists the committed blobs with their digests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use flate2::write::GzDecoder;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode};
use time::OffsetDateTime;
use time::macros::format_description;

use super::block_list;
use super::call::{self, Call, OPERATIONS};
use super::ledger::{BlobSummary, Block, Ledger, Part, keeps};
use super::reply::{self, Refusal, response};
use crate::checksum::{Crc, Digest, Digester};
use crate::faults::{Fault, Faults};
use crate::host::queue_access::EMULATOR_ACCOUNT;
use crate::server::{self, Body, Server, Service, Unanswered};
use crate::traffic::Traffic;

/// A sink on a port of its own, until it is dropped.
pub struct Sink {
    inner: Arc<Inner>,
    endpoint: String,
    _server: Server,
}

struct Inner {
    ledger: Mutex<Ledger>,
    /// When the first block was staged, and when the last list was committed.
    written: Mutex<(Option<Instant>, Option<Instant>)>,
    faults: Faults,
    traffic: Traffic,
}

impl Sink {
    pub async fn start() -> Result<Self> {
        let (listener, address) = server::listen(None).await.context("start the blob sink")?;
        let inner = Arc::new(Inner {
            ledger: Mutex::default(),
            written: Mutex::default(),
            faults: Faults::new(OPERATIONS),
            traffic: Traffic::default(),
        });
        let server = Server::start(listener, Arc::clone(&inner));
        Ok(Self { inner, endpoint: format!("http://{address}/{EMULATOR_ACCOUNT}"), _server: server })
    }

    /// Of the blob service, with the account and without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Every blob that was committed and not deleted.
    pub fn blobs(&self) -> Vec<BlobSummary> {
        self.inner.ledger().summaries()
    }

    /// The time from the first block to the last commit.
    pub fn writing(&self) -> Option<Duration> {
        let (first, last) = *self.inner.written();
        Some(last? - first?)
    }

    /// What it was asked and what it answered.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }
}

impl Service for Inner {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Unanswered> {
        if Faults::is_control(&request) {
            return Ok(self.faults.control(request).await);
        }
        if request.uri().path() == "/_blobs" {
            let listed = serde_json::to_vec(&self.ledger().summaries()).unwrap_or_default();
            return Ok(response(StatusCode::OK, listed));
        }
        let call = Call::of(request.method(), request.uri());
        let treatment = self.faults.meet(call.operation, request.uri().path());
        tokio::time::sleep(treatment.delay).await;
        let answer = match treatment.fault {
            None => self.serve(call, request).await?,
            Some(Fault::LoseAnswer) => {
                self.serve(call, request).await?;
                return Err(Unanswered);
            }
            // What it does not keep it cannot give back wrongly: corruption is the business of the proxy.
            Some(fault) => Refusal::by_rule(fault).ok_or(Unanswered)?.response(),
        };
        tokio::time::sleep(treatment.delay_answer).await;
        Ok(answer)
    }
}

impl Inner {
    async fn serve(&self, call: Call, request: Request<Incoming>) -> Result<Response<Body>, Unanswered> {
        let (head, body) = request.into_parts();
        // A body that breaks off has no effect.
        let (sent, block) = received(&call, body).await.map_err(|_| Unanswered)?;
        let answer = self.done(&call, &head, sent, block).unwrap_or_else(Refusal::response);
        self.traffic.add(call.operation, &call.container, reply::carried(sent.bytes, &answer));
        Ok(answer)
    }

    fn done(&self, call: &Call, head: &Parts, sent: Crc, block: Block) -> Result<Response<Body>, Refusal> {
        call::check_crc(&head.headers, sent)?;
        let (container, blob) = (call.container.as_str(), call.blob.as_str());
        match call.operation {
            "CreateContainer" => {
                self.ledger().create_container(container)?;
                Ok(response(StatusCode::CREATED, ""))
            }
            "PutBlock" => {
                self.written().0.get_or_insert_with(Instant::now);
                let id = call.block_id.as_deref().and_then(|id| STANDARD.decode(id).ok());
                self.ledger().stage(container, blob, id.ok_or(Refusal::BAD_BLOCK_ID)?, block)?;
                Ok(with_crc(response(StatusCode::CREATED, ""), sent))
            }
            "PutBlockList" => {
                let list = block_list::parse(&block.content.unwrap_or_default())?;
                let etag = self.ledger().commit(container, blob, list)?;
                self.written().1 = Some(Instant::now());
                Ok(with_crc(versioned(response(StatusCode::CREATED, ""), etag), sent))
            }
            "DeleteBlob" => {
                self.ledger().delete(container, blob)?;
                Ok(response(StatusCode::ACCEPTED, ""))
            }
            "GetBlob" => {
                let range = range(&head.headers)?;
                let (from, to) = range.unwrap_or((0, None));
                Ok(content(self.ledger().read(container, blob, from, to)?, range.is_some()))
            }
            _ => Err(Refusal::UNKNOWN),
        }
    }

    fn written(&self) -> MutexGuard<'_, (Option<Instant>, Option<Instant>)> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Digests a body as it comes, and of a compressed one the lines in it; keeps it only if it is read again, now or later.
/// Gives the checksum of what was sent as well.
async fn received(call: &Call, mut body: Incoming) -> Result<(Crc, Block)> {
    // What is kept is no file of an export, and may begin with any byte.
    let kept = call.operation != "PutBlock" || keeps(&call.blob);
    let mut digester = if kept { Decoder::Plain(Digester::new()) } else { Decoder::Begins };
    let mut content = kept.then(BytesMut::new);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            digester.update(&data)?;
            if let Some(content) = &mut content {
                content.extend_from_slice(&data);
            }
        }
    }
    let (sent, digest) = digester.finish()?;
    Ok((sent, Block { digest, content: content.map(BytesMut::freeze) }))
}

/// Digests lines, which may come as the gzip of them.
enum Decoder {
    Begins,
    Plain(Digester),
    Gzip { sent: Crc, lines: GzDecoder<Digester> },
}

/// What gzip begins with, and no JSON.
const GZIP: u8 = 0x1F;

impl Decoder {
    fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let (Self::Begins, Some(first)) = (&self, bytes.first()) {
            *self = match *first {
                GZIP => Self::Gzip { sent: Crc::default(), lines: GzDecoder::new(Digester::new()) },
                _ => Self::Plain(Digester::new()),
            };
        }
        match self {
            Self::Begins => Ok(()),
            Self::Plain(lines) => lines.write_all(bytes),
            Self::Gzip { sent, lines } => {
                *sent = sent.then(Crc::of(bytes));
                lines.write_all(bytes)
            }
        }
    }

    fn finish(self) -> io::Result<(Crc, Digest)> {
        let plain = |digest: Digest| (digest.whole, digest);
        match self {
            Self::Begins => Ok(plain(Digest::EMPTY)),
            Self::Plain(lines) => Ok(plain(lines.finish())),
            Self::Gzip { sent, lines } => Ok((sent, lines.finish()?.finish())),
        }
    }
}

/// First byte, and the byte after the last one if it is given.
fn range(headers: &HeaderMap) -> Result<Option<(u64, Option<u64>)>, Refusal> {
    let Some(range) = headers.get("x-ms-range").or_else(|| headers.get("range")) else {
        return Ok(None);
    };
    let ends = range.to_str().ok().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (first, last) = ends.ok_or(Refusal::BAD_RANGE)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| Refusal::BAD_RANGE);
    let last = if last.is_empty() { None } else { Some(number(last)?.saturating_add(1)) };
    Ok(Some((number(first)?, last)))
}

fn content(part: Part, is_range: bool) -> Response<Body> {
    let status = if is_range { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let last = (part.from + part.bytes.len() as u64).saturating_sub(1);
    let range = format!("bytes {}-{last}/{}", part.from, part.length);
    let mut response = versioned(response(status, part.bytes), part.etag);
    put(response.headers_mut(), "x-ms-blob-type", "BlockBlob");
    put(response.headers_mut(), "content-type", "application/octet-stream");
    if is_range {
        put(response.headers_mut(), "content-range", &range);
    }
    response
}

fn versioned(mut response: Response<Body>, etag: u64) -> Response<Body> {
    let http_date =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let now = OffsetDateTime::now_utc().format(http_date).unwrap_or_default();
    put(response.headers_mut(), "etag", &format!("\"0x{etag:X}\""));
    put(response.headers_mut(), "last-modified", &now);
    response
}

fn with_crc(mut response: Response<Body>, crc: Crc) -> Response<Body> {
    put(response.headers_mut(), "x-ms-content-crc64", &STANDARD.encode(crc.header()));
    response
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // All values are made here, of visible ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
