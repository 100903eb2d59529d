//! A yardstick: the same lines, uploaded by a plain HTTP client to the same blob service, one block after the other.
//!
//! The client has a thread of its own, and that thread alone is measured: the lines are made by another one.

use std::sync::mpsc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};

use super::usage::{self, Usage};
use crate::storage::Storage;

/// As large as the handler's.
pub const BLOCK: usize = 8 << 20;
/// Blocks that are ready before they are sent.
const AHEAD: usize = 2;
const CONTAINER: &str = "yardstick";
const VERSION: &str = "2025-11-05";

pub struct Uploaded {
    pub bytes: u64,
    pub usage: Usage,
}

/// Uploads blocks up to so many bytes as one blob.
pub async fn upload(
    storage: &Storage,
    blocks: impl Iterator<Item = Vec<u8>> + Send + 'static,
    most: u64,
) -> Result<Uploaded> {
    let destination = storage.destination()?;
    let field = |name: &str| destination.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let endpoint = field("BlobEndpoint").context("the storage has no BlobEndpoint")?;
    let signature = field("SharedAccessSignature").context("the destination has no signature")?;
    let target = Target { base: format!("{endpoint}/{CONTAINER}"), signature: signature.to_owned() };
    let (sender, ready) = mpsc::sync_channel(AHEAD);
    // It ends when the blocks do, or when nobody takes them any more.
    std::thread::spawn(move || blocks.map(|block| sender.send(block)).take_while(Result::is_ok).for_each(drop));
    let client = tokio::task::spawn_blocking(move || {
        std::thread::spawn(move || target.upload_all(&ready, most)).join().unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic);
        })
    });
    client.await?.context("upload the lines as a plain client")
}

struct Target {
    /// Of the container.
    base: String,
    signature: String,
}

impl Target {
    fn upload_all(&self, ready: &mpsc::Receiver<Vec<u8>>, most: u64) -> Result<Uploaded> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let http = Client::new();
            self.put(&http, "", "restype=container", Vec::new()).await?;
            let before = usage::of_this_thread()?;
            let (mut bytes, mut list) = (0, String::new());
            for block in ready.iter() {
                let id = STANDARD.encode(format!("{bytes:015}"));
                list += &format!("<Latest>{id}</Latest>");
                bytes += block.len() as u64;
                let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
                self.put(&http, "/lines", &format!("comp=block&blockid={id}"), block).await?;
                if bytes >= most {
                    break;
                }
            }
            let list = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>");
            self.put(&http, "/lines", "comp=blocklist", list.into_bytes()).await?;
            Ok(Uploaded { bytes, usage: usage::of_this_thread()?.since(before) })
        })
    }

    async fn put(&self, http: &Client, blob: &str, query: &str, body: Vec<u8>) -> Result<()> {
        let url = format!("{}{blob}?{query}&{}", self.base, self.signature);
        let request = http.request(Method::PUT, url).header("x-ms-version", VERSION).body(body);
        // The URL holds a signature.
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        answer.error_for_status().map_err(reqwest::Error::without_url)?.bytes().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::TestDir;
    use crate::storage::{BlobService, QueueService};

    #[tokio::test]
    async fn the_lines_arrive_as_they_are() {
        let data = TestDir::new();
        let storage = Storage::start(None, BlobService::Sink, QueueService::Azurite, data.path()).await.unwrap();
        let blocks = [b"{\"a\":1}\n{\"b\"".to_vec(), b":2}\n".to_vec(), b"{}\n".to_vec()];
        let uploaded = upload(&storage, blocks.into_iter(), 15).await.unwrap();
        let written = storage.sink().unwrap().blobs();
        let told: Vec<_> = written.iter().map(|blob| (blob.name.as_str(), blob.bytes, blob.lines.count)).collect();
        assert_eq!(told, [("lines", 16, 2)], "the third block would be too much");
        assert_eq!(uploaded.bytes, 16);
        storage.stop();
    }
}
