//! A resource document as the FHIR server's store holds it (`facts`: the Cosmos store, §1.2).

use bytestring::ByteString;

use super::data::Data;

/// The fields of the wrapper that an export needs. Nothing is trusted: a field of the wrong kind is as good as absent.
///
/// Texts are slices of the page that the document came with: a document costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `resourceTypeName`.
    pub resource_type: ByteString,
    /// `resourceId`.
    pub id: ByteString,
    /// `version`; documents of the first years have none and count by their `_etag`.
    pub version: Option<ByteString>,
    /// `_etag`, where there is no version.
    pub etag: Option<ByteString>,
    /// `lastModified`, in the store's fixed-width spelling.
    pub last_modified: ByteString,
    /// `isDeleted`: the version is a tombstone.
    pub is_deleted: bool,
    /// `rawResource.isMetaSet`; absent in the first era.
    pub is_meta_set: bool,
    /// `rawResource.format`; absent counts as `Json`.
    pub format: Option<ByteString>,
    /// `rawResource.data`: FHIR JSON text. `None` if it is no string at all.
    pub data: Option<Data>,
}

impl Document {
    /// The version that the server shows (`GetETagOrVersion`).
    pub fn shown_version(&self) -> Option<&str> {
        self.version.as_deref().or_else(|| self.etag.as_deref().map(|etag| etag.trim_matches('"')))
    }

    /// `Patient/123`, for the one who reads an `error` file.
    pub fn reference(&self) -> String {
        format!("{}/{}", self.resource_type, self.id)
    }
}
