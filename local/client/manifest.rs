//! The manifest of a complete export.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

/// What a complete export consists of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub transaction_time: String,
    /// Whether file requests need the same authorization as the server.
    pub requires_access_token: bool,
    /// The type of the resources that files hold blocks of.
    #[serde(default, rename = "outputOrganizedBy")]
    pub organized_by: Option<String>,
    #[serde(default)]
    pub output: Vec<Listed>,
    #[serde(default)]
    pub deleted: Vec<Listed>,
    /// Called `outcome` in version 4 of the guide.
    #[serde(default, alias = "outcome")]
    pub error: Vec<Listed>,
    #[serde(default)]
    link: Vec<Link>,
    /// What was asked for; version 4 of the guide does not say.
    #[serde(default)]
    request: Option<String>,
    /// A URL of the server that the manifest came from, where that is known.
    #[serde(skip)]
    pub server: Option<Url>,
}

/// One file of the manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Absent in output organized by another resource than its own.
    #[serde(rename = "type")]
    pub resource_type: Option<String>,
    pub url: String,
    pub count: Option<u64>,
    /// Bytes; version 4 of the guide has a place for them.
    #[serde(rename = "fileSize")]
    pub file_size: Option<u64>,
    #[serde(default)]
    pub extension: Proofs,
}

impl Listed {
    /// Whether a file of these bytes and this checksum is the one that was promised.
    pub fn check(&self, bytes: u64, crc64: u64) -> Result<()> {
        if let Some(promised) = self.file_size.or(self.extension.bytes) {
            ensure!(bytes == promised, "the manifest promises {promised} bytes, the file has {bytes}");
        }
        if let Some(promised) = &self.extension.crc64 {
            let found = format!("{crc64:016x}");
            ensure!(found == *promised, "the manifest promises the CRC-64 {promised}, the file has {found}");
        }
        Ok(())
    }
}

/// What this project's server promises of a file beyond the guide.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Extension")]
pub struct Proofs {
    bytes: Option<u64>,
    /// CRC-64/NVME as 16 hex digits.
    pub crc64: Option<String>,
}

/// An object keyed by URI up to version 3 of the guide, FHIR extensions since. Other servers' say nothing to us.
#[derive(Deserialize)]
#[serde(untagged)]
enum Extension {
    Members(Map<String, Value>),
    List(Vec<Value>),
}

impl From<Extension> for Proofs {
    fn from(extension: Extension) -> Self {
        let find = |uri: &str| match &extension {
            Extension::Members(members) => members.get(uri).cloned(),
            Extension::List(list) => Some(list.iter().find(|entry| entry["url"] == uri)?["valueString"].clone()),
        };
        Self {
            bytes: find("urn:fhir-export:bytes").and_then(|bytes| bytes.as_u64()),
            crc64: find("urn:fhir-export:crc64").and_then(|crc64| crc64.as_str().map(str::to_owned)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Link {
    relation: String,
    url: String,
}

/// The list of the manifest that a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Output,
    Deleted,
    Error,
}

impl Manifest {
    pub fn read(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).context("read the manifest")
    }

    /// All files, in the order of the manifest.
    pub fn files(&self) -> impl Iterator<Item = (Kind, &Listed)> {
        let all = [(Kind::Output, &self.output), (Kind::Deleted, &self.deleted), (Kind::Error, &self.error)];
        all.into_iter().flat_map(|(kind, files)| files.iter().map(move |file| (kind, file)))
    }

    /// Whether a URL leads to the server that the manifest came from: a manifest in a file tells it by its request.
    pub fn is_of_server(&self, url: &Url) -> bool {
        let by_request = || self.request.as_ref().and_then(|request| Url::parse(request).ok());
        self.server.clone().or_else(by_request).is_some_and(|server| server.origin() == url.origin())
    }

    pub fn has_next(&self) -> bool {
        self.link.iter().any(|link| link.relation == "next")
    }

    /// Where the next page of a manifest in parts is.
    pub fn next(&self) -> Result<Option<Url>> {
        let next = self.link.iter().find(|link| link.relation == "next");
        next.map(|link| Url::parse(&link.url).context("read the link to the manifest's next page")).transpose()
    }

    /// Appends the next page. The list of errors is the same on every page, so that only what is new of it counts.
    pub fn add(&mut self, page: Self) {
        self.output.extend(page.output);
        self.deleted.extend(page.deleted);
        let new = page.error.into_iter().filter(|file| !self.error.iter().any(|known| known.url == file.url));
        let new: Vec<_> = new.collect();
        self.error.extend(new);
        self.link = page.link;
    }
}
