//! `includeAssociatedData`: what an export holds beside what is asked for (requirements PV-02 to PV-07).

use serde::{Deserialize, Serialize};

use super::telling::Provenance;

/// Microsoft's two values, which together are everything that the store has kept, and those of the guide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Associated {
    /// `_history`: the versions that were superseded as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
    /// `_deleted`: tombstones are lines of the files of their types, marked, and there are no `deleted` files.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Provenance of what is exported, by that alone and of any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}
