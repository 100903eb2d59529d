//! The coding in which the files of an export are stored: as lines, or as the gzip of lines (FL-07).

use serde::{Deserialize, Serialize};

/// One for all files of an export. Sizes and checksums that the documents and the manifest hold are those of the lines,
/// whatever the coding: so they are the same for whoever decodes on the way, which most clients do by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Coding {
    #[default]
    None,
    /// Each block is a member of its own, and what follows one another is a file again: so any attempt can go on with a
    /// file that another one has begun.
    Gzip,
}

impl Coding {
    /// By the name that settings and requests have for it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            _ => None,
        }
    }

    /// `Content-Encoding` of the files.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
        }
    }
}
