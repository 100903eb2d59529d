//! The port `Outputs` in memory, as the blob service does it: what is staged cannot be seen, and a commit drops the rest.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fhir_export::bulk::block::{Block, BlockId, Blocks};
use fhir_export::bulk::coding::Coding;
use fhir_export::bulk::crc::Crc64;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::bulk::transfer::Stored;
use fhir_export::ports::{ErrorKind, Output, Outputs, Place, PortError, Stream};
use flate2::read::MultiGzDecoder;
use futures::stream::{self, StreamExt};

use super::gate::{Call, refused};
use super::world::{State, World};

/// Blobs by container and name.
#[derive(Default)]
pub struct Blobs {
    blobs: BTreeMap<(String, String), Blob>,
    /// The next stream ends after so many parts.
    pub breaks_off: Option<usize>,
}

#[derive(Clone, Default)]
struct Blob {
    committed: Option<BTreeMap<BlockId, Bytes>>,
    order: Vec<BlockId>,
    staged: BTreeMap<BlockId, Bytes>,
    coding: Coding,
}

impl Blob {
    /// Takes each block from the staged ones, else from the committed ones; drops whatever else is staged.
    fn commit(&mut self, blocks: &[BlockId], coding: Coding) -> Result<(), PortError> {
        let committed = self.committed.as_ref();
        let latest = |id: &BlockId| self.staged.get(id).or_else(|| committed?.get(id)).map(|body| (*id, body.clone()));
        let found: Option<BTreeMap<_, _>> = blocks.iter().map(latest).collect();
        // The service says InvalidBlockList.
        let found = found.ok_or_else(|| refused(ErrorKind::Conflict, "blobs.commit"))?;
        *self = Self { committed: Some(found), order: blocks.to_vec(), staged: BTreeMap::new(), coding };
        Ok(())
    }

    fn content(&self) -> Option<Vec<u8>> {
        let committed = self.committed.as_ref()?;
        Some(self.order.iter().flat_map(|id| committed[id].to_vec()).collect())
    }
}

impl Blobs {
    /// What a reader gets: nothing of a blob that was never committed.
    pub fn read(&self, container: &str, name: &str) -> Option<Vec<u8>> {
        self.blobs.get(&(container.into(), name.into()))?.content()
    }

    /// The coding in which a blob is stored.
    pub fn coding(&self, container: &str, name: &str) -> Coding {
        self.blobs.get(&(container.into(), name.into())).map_or(Coding::None, |blob| blob.coding)
    }

    /// What is behind a link, as clients see it who decode what is coded.
    pub fn fetch(&self, url: &str) -> Option<Vec<u8>> {
        let (_, place) = url.split_once("://")?;
        let (_, path) = place.split('?').next()?.split_once('/')?;
        let (container, name) = path.split_once('/')?;
        let stored = self.read(container, name)?;
        match self.coding(container, name) {
            Coding::None => Some(stored),
            Coding::Gzip => {
                let mut lines = Vec::new();
                MultiGzDecoder::new(&stored[..]).read_to_end(&mut lines).expect("gzip");
                Some(lines)
            }
        }
    }

    /// Names of the blobs that can be read, in every container.
    pub fn committed(&self) -> Vec<&str> {
        self.blobs.iter().filter(|(_, blob)| blob.committed.is_some()).map(|((_, name), _)| name.as_str()).collect()
    }

    /// Names of the blobs of which blocks are staged.
    pub fn staged(&self) -> Vec<&str> {
        self.blobs.iter().filter(|(_, blob)| !blob.staged.is_empty()).map(|((_, name), _)| name.as_str()).collect()
    }

    /// The service loses what was staged for the nth blob that has something staged.
    pub fn lose_staged(&mut self, nth: usize) {
        let staged = self.blobs.values_mut().filter(|blob| !blob.staged.is_empty());
        if let Some(blob) = staged.into_iter().nth(nth) {
            blob.staged.clear();
        }
    }

    /// The service loses a blob.
    pub fn lose(&mut self, container: &str, name: &str) {
        self.blobs.remove(&(container.into(), name.into()));
    }

    fn blob(&mut self, container: &str, name: &str) -> &mut Blob {
        self.blobs.entry((container.into(), name.into())).or_default()
    }
}

const BASE: &str = "https://files.example/";

/// The default destination's container, and the handler's own.
pub const EXPORTS: &str = "exports";
pub const SCRATCH: &str = "scratch";

#[async_trait]
impl Outputs for World {
    async fn open(&self, place: &Place) -> Result<Arc<dyn Output>, PortError> {
        let (container, ours) = match place {
            Place::Default => (EXPORTS, true),
            Place::Scratch => (SCRATCH, false),
            Place::Caller { container, .. } => (container.as_str(), false),
        };
        Ok(Arc::new(Opened { world: self.clone(), container: container.into(), ours }))
    }
}

struct Opened {
    world: World,
    container: String,
    /// Whether links are signed.
    ours: bool,
}

#[async_trait]
impl Output for Opened {
    async fn prepare(&self) -> Result<(), PortError> {
        self.world.call(Call::write("blobs.prepare", &self.container), |_| Ok(())).await
    }

    async fn stage(&self, blob: &str, id: BlockId, block: Block) -> Result<(), PortError> {
        let stage = |state: &mut State| {
            // The service sums what it gets, and refuses what does not fit.
            assert_eq!(block.crc64, Crc64::of(&block.bytes), "a block with another's checksum");
            state.blobs.blob(&self.container, blob).staged.insert(id, block.bytes);
            Ok(())
        };
        let what = format!("{blob} {}.{}", id.attempt, id.number);
        self.world.call(Call::write("blobs.stage", what), stage).await
    }

    async fn commit(&self, blob: &str, blocks: &Blocks, coding: Coding) -> Result<(), PortError> {
        let ids: Vec<BlockId> = blocks.ids().collect();
        let commit = |state: &mut State| state.blobs.blob(&self.container, blob).commit(&ids, coding);
        self.world.call(Call::write("blobs.commit", blob), commit).await
    }

    async fn properties(&self, blob: &str) -> Result<Stored, PortError> {
        let look = |state: &mut State| {
            let content = state.blobs.read(&self.container, blob);
            let content = content.ok_or_else(|| refused(ErrorKind::NotFound, "blobs.properties"))?;
            let etag = format!("\"{}\"", Crc64::of(&content));
            Ok(Stored {
                bytes: content.len() as u64,
                etag,
                encoding: state.blobs.coding(&self.container, blob).header().map(str::to_owned),
            })
        };
        self.world.call(Call::read("blobs.properties", blob), look).await
    }

    /// A few bytes at a time.
    async fn stream(&self, blob: &str, from: u64, to: u64) -> Result<Stream, PortError> {
        let read = |state: &mut State| {
            let content = state.blobs.read(&self.container, blob);
            let content = content.ok_or_else(|| refused(ErrorKind::NotFound, "blobs.stream"))?;
            let wanted = content.get(from as usize..content.len().min(to as usize)).filter(|some| !some.is_empty());
            let wanted = wanted.ok_or_else(|| refused(ErrorKind::Broken, "blobs.stream"))?;
            let breaks_off = std::mem::take(&mut state.blobs.breaks_off);
            Ok(wanted
                .chunks(100)
                .take(breaks_off.unwrap_or(usize::MAX))
                .map(Bytes::copy_from_slice)
                .collect::<Vec<_>>())
        };
        let parts = self.world.call(Call::read("blobs.stream", blob), read).await?;
        Ok(stream::iter(parts.into_iter().map(Ok)).boxed())
    }

    async fn read(&self, blob: &str, from: u64, to: u64) -> Result<Bytes, PortError> {
        let read = |state: &mut State| {
            let content = state.blobs.read(&self.container, blob);
            let content = content.ok_or_else(|| refused(ErrorKind::NotFound, "blobs.read"))?;
            let wanted = content.get(from as usize..to as usize);
            Ok(wanted.ok_or_else(|| refused(ErrorKind::Broken, "blobs.read"))?.to_vec().into())
        };
        self.world.call(Call::read("blobs.read", blob), read).await
    }

    /// Two calls of the service, and a worker can die between them.
    async fn remove(&self, blob: &str) -> Result<(), PortError> {
        let clear = |state: &mut State| state.blobs.blob(&self.container, blob).commit(&[], Coding::None);
        self.world.call(Call::write("blobs.clear", blob), clear).await?;
        let delete = |state: &mut State| {
            state.blobs.blob(&self.container, blob).committed = None;
            Ok(())
        };
        self.world.call(Call::write("blobs.delete", blob), delete).await
    }

    async fn link(&self, blob: &str, until: Timestamp) -> Result<String, PortError> {
        assert!(self.ours, "a link into {}", self.container);
        Ok(format!("{BASE}{}/{blob}?until={}", self.container, until.whole_seconds()))
    }
}
