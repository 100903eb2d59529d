//! [`Outputs`] on Blob storage.

use std::num::NonZero;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{RequestContent, Url, XmlFormat};
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders,
    BlockBlobClientCommitBlockListOptions, BlockBlobClientStageBlockOptions, BlockLookupList, HttpRange,
};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobContainerClientOptions};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::OnceCell;

use crate::bulk::block::{Block, BlockId, Blocks};
use crate::bulk::coding::Coding;
use crate::bulk::connection::{Credential, StorageAccount};
use crate::bulk::destination::ContainerName;
use crate::bulk::sas::{self, Opens};
use crate::bulk::secret::Secret;
use crate::bulk::timestamp::Timestamp;
use crate::bulk::transfer::Stored;
use crate::ports::{ErrorKind, Output, Outputs, Place, PortError, Stream};

use super::delegation::Delegation;
use super::error::{Doing, call};
use super::storage::{NamedBy, Storage, resource_url};

pub struct BlobOutputs {
    storage: Storage,
    default: Option<(StorageAccount, ContainerName)>,
    /// Signs links into the default destination, where the identity of the app opens it.
    delegation: OnceCell<Arc<Delegation>>,
    scratch: (StorageAccount, ContainerName),
}

impl BlobOutputs {
    pub fn new(
        storage: Storage,
        default: Option<(StorageAccount, ContainerName)>,
        scratch: (StorageAccount, ContainerName),
    ) -> Self {
        Self { storage, default, delegation: OnceCell::new(), scratch }
    }

    pub(super) fn has_default(&self) -> bool {
        self.default.is_some()
    }

    /// What signs links into the default destination.
    async fn signer(&self, account: &StorageAccount) -> Result<Links, PortError> {
        match &account.credential {
            Credential::Key(key) => Ok(Links::ByKey(key.clone())),
            Credential::Identity => {
                let delegation =
                    self.delegation.get_or_try_init(async || Delegation::new(&self.storage, account).map(Arc::new));
                Ok(Links::ByIdentity(Arc::clone(delegation.await?)))
            }
            // The settings refuse it: a signature cannot make others.
            Credential::Sas(_) => Err(PortError::new(ErrorKind::Broken, "sign links without a key or an identity")),
        }
    }
}

/// How the links into a container are made.
enum Links {
    /// Not at all: the container is the caller's, or nobody is given links into it.
    None,
    ByKey(Secret),
    ByIdentity(Arc<Delegation>),
}

#[async_trait]
impl Outputs for BlobOutputs {
    async fn open(&self, place: &Place) -> Result<Arc<dyn Output>, PortError> {
        let (account, container, named_by, links) = match (place, &self.default) {
            (Place::Caller { account, container }, _) => (account, container, NamedBy::Caller, Links::None),
            (Place::Scratch, _) => (&self.scratch.0, &self.scratch.1, NamedBy::Settings, Links::None),
            (Place::Default, Some((account, container))) => {
                (account, container, NamedBy::Settings, self.signer(account).await?)
            }
            (Place::Default, None) => {
                return Err(PortError::new(ErrorKind::Broken, "open the default destination: there is none"));
            }
        };
        Ok(Arc::new(BlobOutput::new(&self.storage, account.clone(), container, named_by, links)?))
    }
}

struct BlobOutput {
    client: BlobContainerClient,
    account: StorageAccount,
    container: String,
    links: Links,
}

/// The media type of NDJSON files (FL-02).
const CONTENT_TYPE: &str = "application/fhir+ndjson";

impl BlobOutput {
    fn new(
        storage: &Storage,
        account: StorageAccount,
        container: &ContainerName,
        named_by: NamedBy,
        links: Links,
    ) -> Result<Self, PortError> {
        let (client_options, credential) = storage.access(&account, named_by)?;
        let mut options = BlobContainerClientOptions { client_options, ..Default::default() };
        storage.choose_version(&mut options.version);
        let url = resource_url(&account, &account.blob, container.as_str());
        let client = BlobContainerClient::new(url, credential, Some(options));
        let client = client.doing(|| "open a container".into())?;
        Ok(Self { client, account, container: container.as_str().into(), links })
    }

    fn blob(&self, name: &str) -> BlobClient {
        self.client.blob_client(name)
    }

    fn url(&self, name: &str) -> Url {
        let mut url = self.account.blob.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(&self.container).extend(name.split('/'));
        }
        url
    }
}

fn block_list(blocks: &Blocks) -> azure_core::Result<RequestContent<BlockLookupList, XmlFormat>> {
    let latest = Some(blocks.ids().map(|id| id.bytes().to_vec()).collect());
    BlockLookupList { latest, ..Default::default() }.try_into()
}

#[async_trait]
impl Output for BlobOutput {
    async fn prepare(&self) -> Result<(), PortError> {
        match call(|| "create the container".into(), self.client.create(None)).await {
            Ok(_) => Ok(()),
            // It exists, or we may not create it: staging the first block tells whether that matters.
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Denied) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn stage(&self, blob: &str, id: BlockId, block: Block) -> Result<(), PortError> {
        let client = self.blob(blob).block_blob_client();
        let options = BlockBlobClientStageBlockOptions {
            transactional_content_crc64: Some(block.crc64.header().to_vec()),
            ..Default::default()
        };
        let (name, length) = (id.bytes(), block.bytes.len() as u64);
        let staged = client.stage_block(&name, length, block.bytes.into(), Some(options));
        call(|| format!("stage block {}.{} of {blob}", id.attempt, id.number), staged).await?;
        Ok(())
    }

    async fn commit(&self, blob: &str, blocks: &Blocks, coding: Coding) -> Result<(), PortError> {
        let doing = || format!("commit {} blocks of {blob}", blocks.count());
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_type: Some(CONTENT_TYPE.into()),
            blob_content_encoding: coding.header().map(Into::into),
            ..Default::default()
        };
        let list = block_list(blocks).doing(doing)?;
        let client = self.blob(blob).block_blob_client();
        call(doing, client.commit_block_list(list, Some(options))).await?;
        Ok(())
    }

    async fn read(&self, blob: &str, from: u64, to: u64) -> Result<Bytes, PortError> {
        let doing = || format!("read bytes {from} to {to} of {blob}");
        let range = Some(HttpRange::new(from, to - from));
        let options = BlobClientDownloadOptions { range, ..Default::default() };
        let client = self.blob(blob);
        let bytes = call(doing, async { client.download(Some(options)).await?.body.collect().await }).await?;
        if bytes.len() as u64 == to - from {
            Ok(bytes)
        } else {
            Err(PortError::new(ErrorKind::Broken, format!("{}: it has fewer", doing())))
        }
    }

    async fn properties(&self, blob: &str) -> Result<Stored, PortError> {
        let doing = || format!("look at {blob}");
        let found = call(doing, self.blob(blob).get_properties(None)).await?;
        let (bytes, etag) = (found.content_length().doing(doing)?, found.etag().doing(doing)?);
        let encoding = found.content_encoding().doing(doing)?.filter(|coding| !coding.is_empty());
        let told = bytes.zip(etag).ok_or_else(|| PortError::new(ErrorKind::Broken, format!("{}: no size", doing())));
        told.map(|(bytes, etag)| Stored { bytes, etag: etag.to_string(), encoding })
    }

    async fn stream(&self, blob: &str, from: u64, to: u64) -> Result<Stream, PortError> {
        let doing = format!("read bytes {from} to {to} of {blob}");
        // In one part: several would be gathered before they are passed on.
        let whole = usize::try_from(to - from).ok().and_then(NonZero::new);
        let range = Some(HttpRange::new(from, to - from));
        let options = BlobClientDownloadOptions { range, partition_size: whole, ..Default::default() };
        let client = self.blob(blob);
        let opened = call(|| doing.clone(), client.download(Some(options))).await?;
        Ok(opened.body.map(move |part| part.doing(|| doing.clone())).boxed())
    }

    async fn remove(&self, blob: &str) -> Result<(), PortError> {
        let doing = || format!("remove {blob}");
        let client = self.blob(blob);
        // An empty list drops every staged block; without it the blocks of a blob that was never committed stay.
        let empty = block_list(&Blocks::default()).doing(doing)?;
        let block_blob = client.block_blob_client();
        call(doing, block_blob.commit_block_list(empty, None)).await?;
        match call(doing, client.delete(None::<BlobClientDeleteOptions<'_>>)).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    async fn link(&self, blob: &str, until: Timestamp) -> Result<String, PortError> {
        let mut url = self.url(blob);
        match &self.links {
            Links::None => return Err(PortError::new(ErrorKind::Broken, "make a link into a container of a caller's")),
            Links::ByKey(key) => {
                let opens = Opens::Blob { container: &self.container, name: blob };
                let signature = sas::service(&self.account.name, key, &self.account.blob, opens, until);
                url.set_query(Some(signature.reveal()));
            }
            Links::ByIdentity(delegation) => url = delegation.sign(url, (&self.container, blob), until).await?,
        }
        Ok(url.into())
    }
}
