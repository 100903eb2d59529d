//! A resource document as the FHIR server's store holds it (`facts`: the Cosmos store, §1.2).

/// The fields of the wrapper that an export needs. Nothing is trusted: a field of the wrong kind is as good as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `resourceTypeName`.
    pub resource_type: String,
    /// `resourceId`.
    pub id: String,
    /// `version`; documents of the first years have none and count by their `_etag`.
    pub version: Option<String>,
    pub etag: Option<String>,
    /// `lastModified`, in the store's fixed-width spelling.
    pub last_modified: String,
    /// `isDeleted`: the version is a tombstone.
    pub is_deleted: bool,
    /// `rawResource.isMetaSet`; absent in the first era.
    pub is_meta_set: bool,
    /// `rawResource.format`; absent counts as `Json`.
    pub format: Option<String>,
    /// `rawResource.data`, unescaped: FHIR JSON text. It may hold bytes that are no UTF-8, where the store's text holds
    /// half of a surrogate pair. `None` if it is no string at all.
    pub data: Option<Vec<u8>>,
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
