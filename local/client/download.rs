//! The files of a manifest: downloaded four at a time, checked line by line, kept or only counted.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use crc_fast::{CrcAlgorithm, Digest};
use futures::{StreamExt, stream};
use indicatif::{HumanBytes, HumanCount};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, LOCATION};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use url::Url;

use super::lines::{self, Lines};
use super::manifest::{Kind, Listed, Manifest};
use super::outcome::{Outcome, printable};
use super::progress::Progress;
use super::protocol::{BulkClient, MAX_REDIRECTS, shown};

/// Files downloaded at a time.
const CONCURRENCY: usize = 4;
/// Bytes gathered before they are written to disk.
const WRITE_BYTES: usize = 256 * 1024;

/// Sees every line of the output files, without its line end, with its resource type; in the order of arrival.
pub type Visit<'a> = dyn FnMut(&str, &[u8]) + Send + 'a;

/// What was downloaded. Displayed, it is a table.
#[derive(Debug, Default)]
pub struct Downloaded {
    /// By list of the manifest and resource type.
    pub totals: BTreeMap<(Kind, String), Totals>,
    /// What is wrong with which file. Such a file is not counted, and keeps the name `….part`.
    pub problems: Vec<String>,
}

/// Sums over the files of one resource type; bytes as they are in the files, not as they were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub files: u64,
    pub resources: u64,
    pub bytes: u64,
}

impl BulkClient {
    /// Downloads all files of the manifest, into `out` if given. What is wrong with a file is in the result.
    pub async fn download(
        &self,
        manifest: &Manifest,
        out: Option<&Path>,
        progress: &Progress,
        visit: &mut Visit<'_>,
    ) -> Result<Downloaded> {
        if let Some(out) = out {
            tokio::fs::create_dir_all(out).await.with_context(|| format!("create {}", out.display()))?;
        }
        let visit = Mutex::new(visit);
        let names = file_names(manifest.files().map(|(_, file)| file.url.as_str()));
        let downloads = manifest.files().zip(names).map(|((kind, file), name)| {
            let download = Download { client: self, manifest, kind, file, name, out, progress, visit: &visit };
            download.run()
        });
        let mut ended = stream::iter(downloads).buffer_unordered(CONCURRENCY);
        let mut downloaded = Downloaded::default();
        while let Some(end) = ended.next().await {
            match end {
                Ok((kind, resource_type, totals)) => downloaded.add(kind, resource_type, totals),
                Err(problem) => downloaded.problems.push(printable(&format!("{problem:#}"))),
            }
        }
        Ok(downloaded)
    }
}

/// One file on its way.
struct Download<'a, 'v> {
    client: &'a BulkClient,
    manifest: &'a Manifest,
    kind: Kind,
    file: &'a Listed,
    name: String,
    out: Option<&'a Path>,
    progress: &'a Progress,
    visit: &'a Mutex<&'a mut Visit<'v>>,
}

impl Download<'_, '_> {
    async fn run(self) -> Result<(Kind, String, Totals)> {
        let totals = self.fetch().await.with_context(|| self.name.clone())?;
        let resource_type = self.file.resource_type.clone().unwrap_or_else(|| self.kind.default_type().to_owned());
        Ok((self.kind, resource_type, totals))
    }

    async fn fetch(&self) -> Result<Totals> {
        let mut response = self.request().await?;
        let bar = self.progress.file(&self.name, response.content_length());
        let part = self.out.map(|out| out.join(format!("{}.part", self.name)));
        let mut disk = match &part {
            Some(part) => Some(create(part).await?),
            None => None,
        };
        let (mut lines, mut bytes, mut crc) = (Lines::default(), 0, Digest::new(CrcAlgorithm::Crc64Nvme));
        let mut headers = 0;
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            bytes += chunk.len() as u64;
            crc.update(&chunk);
            bar.add(chunk.len());
            if let Some(disk) = &mut disk {
                disk.write_all(&chunk).await.context("write to disk")?;
            }
            lines.push(&chunk, |line| {
                headers += u64::from(self.look_at(line)? == Seen::Header);
                Ok(())
            })?;
        }
        if let Some(disk) = &mut disk {
            disk.flush().await.context("write to disk")?;
        }
        lines.finish(self.file.count.map(|count| count + headers))?;
        self.file.check(bytes, crc.finalize())?;
        if let (Some(part), Some(out)) = (&part, self.out) {
            tokio::fs::rename(part, out.join(&self.name)).await.context("name the file")?;
        }
        let resources = lines.count - headers;
        bar.done(resources, bytes);
        Ok(Totals { files: 1, resources, bytes })
    }

    /// A file that needs no token must not get one, and no other host than the server's must: a file may be anywhere, and
    /// so may a redirect lead.
    async fn request(&self) -> Result<reqwest::Response> {
        let mut url = Url::parse(&self.file.url).context("its URL is not absolute")?;
        for _ in 0..=MAX_REDIRECTS {
            let ours = self.manifest.requires_access_token && self.manifest.is_of_server(&url);
            let mut request = self.client.http.get(url.clone()).header(ACCEPT, "application/fhir+ndjson");
            if ours {
                request = request.headers(self.client.headers.clone());
            }
            let doing = || match self.manifest.requires_access_token && !ours && !self.client.headers.is_empty() {
                true => format!("get {}, without the headers: it is not on the server's host", shown(&url)),
                false => format!("get {}", shown(&url)),
            };
            let response = request.send().await.map_err(reqwest::Error::without_url).with_context(doing)?;
            let target = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            match (response.status(), target) {
                (StatusCode::OK, _) => return Ok(response),
                (status, Some(target)) if status.is_redirection() => {
                    url = response.url().join(target).with_context(doing)?;
                }
                _ => return Err(Outcome::of(response).await).with_context(doing),
            }
        }
        bail!("it is redirected more than {MAX_REDIRECTS} times")
    }

    fn look_at(&self, line: &[u8]) -> Result<Seen> {
        let resource_type = lines::check(line, self.file.resource_type.as_deref())?;
        if self.kind != Kind::Output {
            return Ok(Seen::Resource);
        }
        if self.manifest.organized_by.is_some() && resource_type == "Parameters" {
            return Ok(Seen::Header);
        }
        let mut visit = self.visit.lock().unwrap_or_else(PoisonError::into_inner);
        (*visit)(&resource_type, line);
        Ok(Seen::Resource)
    }
}

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Resource,
    /// What a block begins with, in output that is organized by a resource: it is not counted.
    Header,
}

async fn create(path: &PathBuf) -> Result<BufWriter<File>> {
    let file = File::create(path).await.with_context(|| format!("create {}", path.display()))?;
    Ok(BufWriter::with_capacity(WRITE_BYTES, file))
}

/// A file name for each URL: its last segment without the query, of harmless characters only, and no name twice.
fn file_names<'a>(urls: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let unique = |url: &str| {
        let name = harmless(url);
        let numbered = (2..).map(|n| format!("{n}-{name}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| taken.insert(name.to_lowercase()));
        // The numbers never end, so that one is free.
        free.unwrap_or(name)
    };
    urls.map(unique).collect()
}

fn harmless(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let segment = path.rsplit('/').next().unwrap_or_default();
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = segment.chars().map(|c| if is_harmless(c) { c } else { '_' }).take(200).collect();
    match name.trim_start_matches('.') {
        "" => "file".to_owned(),
        name => name.to_owned(),
    }
}

impl Downloaded {
    fn add(&mut self, kind: Kind, resource_type: String, file: Totals) {
        *self.totals.entry((kind, resource_type)).or_default() += file;
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.resources += other.resources;
        self.bytes += other.bytes;
    }
}

impl Kind {
    /// What the guide says that the files of this list hold, where the manifest does not.
    fn default_type(self) -> &'static str {
        match self {
            Self::Output => "mixed",
            Self::Deleted => "Bundle",
            Self::Error => "OperationOutcome",
        }
    }
}

impl fmt::Display for Downloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, [files, resources, bytes]: [String; 3]| {
            writeln!(f, "{name:<36} {files:>7} {resources:>13} {bytes:>12}")
        };
        let cells = |t: &Totals| {
            [HumanCount(t.files).to_string(), HumanCount(t.resources).to_string(), HumanBytes(t.bytes).to_string()]
        };
        row("type", ["files", "resources", "bytes"].map(str::to_owned))?;
        let mut all = Totals::default();
        for ((kind, resource_type), totals) in &self.totals {
            match kind {
                Kind::Output => row(&printable(resource_type), cells(totals))?,
                Kind::Deleted => row("(deleted)", cells(totals))?,
                Kind::Error => row("(errors)", cells(totals))?,
            }
            all += *totals;
        }
        row("total", cells(&all))
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn file_names_come_from_the_url_without_tricks() {
        let urls = [
            "https://h/c/Patient-1.ndjson?sig=a/b",
            "https://h/d/Patient-1.ndjson",
            "https://h/d/patient-1.ndjson",
            "https://h/c/..%2F..%2Fetc",
            "https://h/c/..",
            "https://h/",
            "https://h/a\\b:c",
        ];
        let names =
            ["Patient-1.ndjson", "2-Patient-1.ndjson", "3-patient-1.ndjson", "_2F.._2Fetc", "file", "2-file", "a_b_c"];
        assert_eq!(file_names(urls.into_iter()), names);
    }
}
