//! A text with ids in it that can be written again with other ids.

use memchr::memmem;

use super::id::{ID_BYTES, Id};

/// The bytes, and where the document's own id and its patient's stand in them.
pub struct Template {
    bytes: Box<[u8]>,
    own: Vec<usize>,
    patient: Vec<usize>,
}

/// The ids to find in a text: those that its document was made with.
#[derive(Clone, Debug)]
pub struct Ids {
    pub own: String,
    /// The patient that the document is about, if it is about one.
    pub patient: Option<String>,
}

impl Template {
    pub fn new(bytes: &[u8], ids: &Ids) -> Self {
        let places = |id: &str| memmem::find_iter(bytes, id).collect();
        let patient = ids.patient.as_deref().map(places).unwrap_or_default();
        Self { own: places(&ids.own), patient, bytes: bytes.into() }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the text with these ids.
    pub fn append(&self, own: &Id, patient: &Id, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let copy = &mut out[start..];
        for (places, id) in [(&self.own, own), (&self.patient, patient)] {
            for place in places {
                copy[*place..place + ID_BYTES].copy_from_slice(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ids_change() {
        let (own, patient) = ("0".repeat(ID_BYTES), "1".repeat(ID_BYTES));
        let text = |own: &str, patient: &str| format!("{{\"id\":\"{own}\",\"x\":\"A/{own}\",\"s\":\"P/{patient}\"}}");
        let ids = Ids { own: own.clone(), patient: Some(patient.clone()) };
        let template = Template::new(text(&own, &patient).as_bytes(), &ids);
        let mut out = b"[".to_vec();
        template.append(&[b'a'; ID_BYTES], &[b'b'; ID_BYTES], &mut out);
        assert_eq!(out[1..], *text(&"a".repeat(ID_BYTES), &"b".repeat(ID_BYTES)).as_bytes());
        assert_eq!(template.len(), out.len() - 1);
    }
}
