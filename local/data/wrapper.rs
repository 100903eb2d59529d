//! The document that Microsoft's FHIR server keeps in Cosmos DB for one version of a resource.

use super::index::Index;
use super::json::{self, Object};

/// Cosmos DB refuses a bigger document.
pub const LARGEST_DOCUMENT: usize = 2 * 1024 * 1024;

/// One version of a resource with all that the server stores beside its text.
pub struct Wrapper<'a> {
    pub resource_type: &'a str,
    pub resource_id: &'a str,
    pub version: &'a str,
    /// In the stored spelling of [`super::instants::stored`].
    pub last_modified: &'a str,
    pub state: State<'a>,
    /// The text of the resource, not yet escaped.
    pub text: &'a str,
    pub is_meta_set: Option<bool>,
    pub index: &'a Index,
    pub written: Written,
    /// The server derives sort values since 2021.
    pub sorts: bool,
}

pub enum State<'a> {
    Current,
    /// The moment at which the next version took its place; older servers did not note it.
    History {
        superseded: Option<&'a str>,
    },
    Deleted,
}

/// The writer whose traces the document carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The server of the first years, which kept no hash of its search parameters.
    Early,
    Server,
    /// A reindex run replaced the whole document: other field order, no compartments, no claims.
    Reindex,
}

impl Wrapper<'_> {
    pub fn partition_key(&self) -> String {
        format!("{}_{}", self.resource_type, self.resource_id)
    }

    pub fn id(&self) -> String {
        match self.state {
            State::History { .. } => format!("{}_{}", self.resource_id, self.version),
            State::Current | State::Deleted => self.resource_id.to_owned(),
        }
    }

    /// The JSON text of the document.
    pub fn document(&self) -> String {
        json::object(|o| {
            if self.written == Written::Reindex {
                self.raw_resource(o);
                self.search_indices(o);
                self.identity(o);
            } else {
                self.identity(o);
                self.raw_resource(o);
                self.request(o);
                self.search_indices(o);
                self.claims(o);
            }
        })
    }

    fn identity(&self, o: &mut Object) {
        let flags = match self.state {
            State::Current => (false, false),
            State::History { .. } => (true, false),
            State::Deleted => (false, true),
        };
        o.string("id", &self.id()).string("partitionKey", &self.partition_key()).boolean("isSystem", false);
        o.string("resourceTypeName", self.resource_type).string("resourceId", self.resource_id);
        o.string("version", self.version).string("lastModified", self.last_modified);
        o.boolean("isHistory", flags.0).boolean("isDeleted", flags.1);
        if let State::History { superseded: Some(moment) } = self.state {
            o.string("activePeriodEndDateTime", moment);
        }
    }

    fn raw_resource(&self, o: &mut Object) {
        o.object("rawResource", |o| {
            o.string("data", self.text).string("format", "Json");
            if let Some(set) = self.is_meta_set {
                o.boolean("isMetaSet", set);
            }
        });
    }

    fn request(&self, o: &mut Object) {
        let method = match self.state {
            State::Deleted => "DELETE",
            State::Current | State::History { .. } if self.version == "1" => "POST",
            State::Current | State::History { .. } => "PUT",
        };
        let place = if method == "POST" { String::new() } else { format!("/{}", self.resource_id) };
        o.object("request", |o| {
            o.string("url", &format!("https://fhir.example.org/{}{place}", self.resource_type))
                .string("method", method);
        });
    }

    /// A superseded version cannot be found by a search, so it carries none; a tombstone has its id and time only.
    fn search_indices(&self, o: &mut Object) {
        if matches!(self.state, State::History { .. }) {
            return;
        }
        o.list("searchIndices", |l| {
            l.object(|o| _ = o.string("p", "_id").string("c", self.resource_id));
            l.object(|o| {
                o.string("p", "_lastUpdated").string("st", self.last_modified).string("et", self.last_modified);
            });
            if matches!(self.state, State::Current) && !self.index.entries.is_empty() {
                l.raw(&self.index.entries);
            }
        });
    }

    fn claims(&self, o: &mut Object) {
        let current = matches!(self.state, State::Current);
        o.object("compartmentIndices", |o| {
            if current {
                o.spread(&self.index.compartments());
            }
        });
        o.list("lastModifiedClaims", |l| {
            l.object(|o| _ = o.string("Key", "client_id").string("Value", "a6d3f8c0-loader"));
        });
        if self.written == Written::Server {
            o.string("searchParameterHash", "9f2c0c1b7c6e4d5a8b3f1e0d2c4b6a79");
        }
        if self.sorts && current {
            o.object("sort", |o| _ = o.spread(&self.index.sort));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fhir::Reference;
    use serde_json::{Value, json};

    fn document(state: State, written: Written) -> Value {
        let mut index = Index::default();
        index.subject(&Reference::to("Patient", "p"));
        let wrapper = Wrapper {
            resource_type: "Observation",
            resource_id: "o",
            version: "2",
            last_modified: "2025-03-02T09:15:42.1180000+00:00",
            state,
            text: "{\"resourceType\":\"Observation\",\"id\":\"o\"}",
            is_meta_set: Some(true),
            index: &index,
            written,
            sorts: true,
        };
        serde_json::from_str(&wrapper.document()).unwrap()
    }

    #[test]
    fn a_current_document_has_every_field() {
        let mut document = document(State::Current, Written::Server);
        assert_eq!(document["searchIndices"].as_array().unwrap().len(), 4);
        document["searchIndices"] = json!([]);
        assert_eq!(
            document,
            json!({
                "id": "o", "partitionKey": "Observation_o", "isSystem": false, "resourceTypeName": "Observation",
                "resourceId": "o", "version": "2", "lastModified": "2025-03-02T09:15:42.1180000+00:00",
                "isHistory": false, "isDeleted": false,
                "rawResource": { "data": "{\"resourceType\":\"Observation\",\"id\":\"o\"}", "format": "Json", "isMetaSet": true },
                "request": { "url": "https://fhir.example.org/Observation/o", "method": "PUT" },
                "searchIndices": [], "compartmentIndices": { "patient": ["p"] },
                "lastModifiedClaims": [{ "Key": "client_id", "Value": "a6d3f8c0-loader" }],
                "searchParameterHash": "9f2c0c1b7c6e4d5a8b3f1e0d2c4b6a79", "sort": {},
            })
        );
    }

    #[test]
    fn a_superseded_version_is_no_search_result() {
        let moment = "2025-04-02T09:15:42.1180000+00:00";
        let document = document(State::History { superseded: Some(moment) }, Written::Server);
        assert_eq!((&document["id"], &document["partitionKey"]), (&json!("o_2"), &json!("Observation_o")));
        assert_eq!((&document["isHistory"], &document["activePeriodEndDateTime"]), (&json!(true), &json!(moment)));
        assert_eq!((&document["searchIndices"], &document["compartmentIndices"]), (&Value::Null, &json!({})));
    }

    #[test]
    fn a_tombstone_is_found_by_id_and_time_only() {
        let document = document(State::Deleted, Written::Server);
        assert_eq!((&document["isDeleted"], &document["isHistory"]), (&json!(true), &json!(false)));
        assert_eq!(document["searchIndices"].as_array().unwrap().len(), 2);
        assert_eq!(document["request"]["method"], "DELETE");
    }

    #[test]
    fn a_reindexed_document_lost_its_compartments() {
        let document = document(State::Current, Written::Reindex);
        assert_eq!(document.get("compartmentIndices"), None);
        assert_eq!(document["searchIndices"].as_array().unwrap().len(), 4);
    }
}
