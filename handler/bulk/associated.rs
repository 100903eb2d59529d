//! `includeAssociatedData`: what an export holds beside what is current (requirement PV-07).

use serde::{Deserialize, Serialize};

/// Microsoft's two values. Both together are everything that the store has kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Associated {
    /// `_history`: the versions that were superseded as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
    /// `_deleted`: tombstones are lines of the files of their types, marked, and there are no `deleted` files.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}
