//! Files as manifests list them, and the names under which they are asked for at this server.

use super::file::FileRecord;
use super::job_id::JobId;

/// The document that lists a file: what a request for it has to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listing {
    /// A `files` document of a chunk, in the generation with which the chunk was done.
    Part { chunk: u32, part: u32 },
    /// A page of a manifest in pages.
    Page(u32),
}

/// A committed file and where it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub record: FileRecord,
    pub listing: Listing,
}

/// What a file is called in a URL of this server: `Patient-0-3-1.0-2.ndjson` is the blob `Patient-0-3-1.ndjson` of the job,
/// listed in part 2 of chunk 0; with `.5` in that place it is listed on page 5.
///
/// So one read finds the record, and the record alone decides whether there is such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    pub listing: Listing,
    /// The last segment of the blob's name.
    pub file: String,
}

impl Listed {
    /// The last segment of the file's URL.
    pub fn name(&self) -> String {
        let file = last_segment(&self.record.name);
        let (stem, ending) = file.split_once('.').unwrap_or((file, ""));
        match self.listing {
            Listing::Part { chunk, part } => format!("{stem}.{chunk}-{part}.{ending}"),
            Listing::Page(page) => format!("{stem}.{page}.{ending}"),
        }
    }
}

impl FileName {
    /// Reads a name that [`Listed::name`] could have given; there is no other spelling of it.
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, rest) = text.split_once('.')?;
        let (listing, ending) = rest.split_once('.')?;
        let listing = match listing.split_once('-') {
            Some((chunk, part)) => Listing::Part { chunk: number(chunk)?, part: number(part)? },
            None => Listing::Page(number(listing)?),
        };
        Some(Self { listing, file: format!("{stem}.{ending}") })
    }

    /// Whether the record is of this file.
    pub fn is_of(&self, job: &JobId, record: &FileRecord) -> bool {
        record.name == format!("{job}/{}", self.file)
    }
}

/// The file's own name within the folder of its job.
pub fn last_segment(blob: &str) -> &str {
    blob.rsplit('/').next().unwrap_or_default()
}

fn number(text: &str) -> Option<u32> {
    let number = text.parse::<u32>().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::file::{Held, Kind};
    use crate::bulk::resource_type::ResourceType;

    fn listed(listing: Listing) -> Listed {
        let resource_type = ResourceType::parse("Patient").unwrap();
        let name = format!("{}/Patient-3-17-2.ndjson", JobId::new(1));
        let (kind, held, continues_in) = (Kind::Output, Held::default(), None);
        Listed { record: FileRecord { kind, resource_type, name, held, continues_in }, listing }
    }

    #[test]
    fn a_name_leads_to_the_record_of_its_file_and_of_no_other() {
        for (listing, name) in [
            (Listing::Part { chunk: 3, part: 0 }, "Patient-3-17-2.3-0.ndjson"),
            (Listing::Page(12), "Patient-3-17-2.12.ndjson"),
        ] {
            let listed = listed(listing);
            assert_eq!(listed.name(), name);
            let parsed = FileName::parse(name).unwrap();
            assert_eq!((parsed.listing, parsed.file.as_str()), (listing, "Patient-3-17-2.ndjson"));
            assert!(parsed.is_of(&JobId::new(1), &listed.record));
            assert!(!parsed.is_of(&JobId::new(2), &listed.record));
            let other = FileRecord { name: format!("{}/Patient-3-17-3.ndjson", JobId::new(1)), ..listed.record };
            assert!(!parsed.is_of(&JobId::new(1), &other));
        }
    }

    #[test]
    fn what_no_manifest_lists_is_no_name() {
        for text in [
            "",
            "Patient-0-0-1.ndjson",
            "Patient-0-0-1..ndjson",
            "Patient-0-0-1.01-0.ndjson",
            "Patient-0-0-1.+1-0.ndjson",
            "Patient-0-0-1.-1.ndjson",
            "Patient-0-0-1.0-0-0.ndjson",
            "Patient-0-0-1.4294967296.ndjson",
            "probe",
        ] {
            assert_eq!(FileName::parse(text), None, "{text}");
        }
        // A path is only ever compared, never followed.
        let path = FileName::parse("../other/Patient-0-0-1.0-0.ndjson").map(|name| name.file);
        assert_eq!(path, None);
        let path = FileName::parse("x/../../Patient-3-17-2.3-0.ndjson").map(|name| name.file);
        assert_eq!(path, None);
    }
}
