//! One page of an answer, as text or as the service's binary JSON.

use azure_core::http::Request;
use azure_data_cosmos_driver::binary_json::{self, PREAMBLE, markers};
use serde_json::{Value, json};

use crate::cosmos::exchange::FORMATS;

/// Room for what stands around the rows.
const ENVELOPE: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Text,
    Binary,
}

impl Format {
    /// Binary if the client takes it, as the service does.
    pub fn wanted(request: &Request) -> Self {
        let formats = request.headers().get_optional_str(&FORMATS).unwrap_or_default();
        match formats.split(',').any(|format| format.trim().eq_ignore_ascii_case("CosmosBinary")) {
            true => Self::Binary,
            false => Self::Text,
        }
    }
}

/// A page that is being filled.
pub struct Page {
    format: Format,
    body: Vec<u8>,
    /// Most bytes of it.
    limit: usize,
    /// Where the rows begin.
    rows: usize,
    pub count: usize,
}

impl Page {
    pub fn new(format: Format, container_rid: &str, limit: usize) -> Self {
        let mut body = Vec::with_capacity(limit);
        match format {
            Format::Text => body.extend(format!("{{\"_rid\":{},\"Documents\":[", json!(container_rid)).bytes()),
            Format::Binary => {
                body.extend([PREAMBLE, markers::OBJ_LC4]);
                body.extend([0; 8]);
                put(&mut body, &json!("_rid"));
                put(&mut body, &json!(container_rid));
                put(&mut body, &json!("Documents"));
                body.push(markers::ARR_LC4);
                body.extend([0; 8]);
            }
        }
        Self { format, rows: body.len(), body, limit, count: 0 }
    }

    /// Whether a row of this size still goes in. A row on its own always does.
    pub fn has_room(&self, row: usize) -> bool {
        self.count == 0 || self.body.len() + row + ENVELOPE <= self.limit
    }

    pub fn add(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        if self.format == Format::Text && self.count > 0 {
            self.body.push(b',');
        }
        append(&mut self.body);
        self.count += 1;
    }

    pub fn finish(mut self) -> Vec<u8> {
        match self.format {
            Format::Text => self.body.extend(format!("],\"_count\":{}}}", self.count).bytes()),
            Format::Binary => {
                let end = self.body.len();
                self.put_sizes(self.rows, end - self.rows, self.count);
                put(&mut self.body, &json!("_count"));
                put(&mut self.body, &json!(self.count));
                let start = 10;
                self.put_sizes(start, self.body.len() - start, 3);
            }
        }
        self.body
    }

    /// Fills in the byte length and the member count before the place where a container's content begins.
    fn put_sizes(&mut self, start: usize, bytes: usize, count: usize) {
        self.body[start - 8..start - 4].copy_from_slice(&(bytes as u32).to_le_bytes());
        self.body[start - 4..start].copy_from_slice(&(count as u32).to_le_bytes());
    }
}

/// The encoding of a value within a page.
fn put(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(&binary_json::encode(value)[1..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4000;

    #[test]
    fn both_formats_say_the_same() {
        for rows in [vec![], vec![json!({ "id": "a" })], vec![json!({ "id": "a" }), json!(["b", 1.5]), json!(null)]] {
            let expected = json!({ "_rid": "r\"1", "Documents": rows, "_count": rows.len() });
            for format in [Format::Text, Format::Binary] {
                let mut page = Page::new(format, "r\"1", LIMIT);
                rows.iter().for_each(|row| {
                    page.add(|out| match format {
                        Format::Text => out.extend(row.to_string().bytes()),
                        Format::Binary => put(out, row),
                    });
                });
                let body = page.finish();
                let text = binary_json::transcode_to_text(&body).unwrap();
                assert_eq!(binary_json::is_binary(&body), format == Format::Binary);
                assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected, "{format:?}");
            }
        }
    }

    #[test]
    fn a_page_takes_rows_up_to_its_limit_but_always_one() {
        let mut page = Page::new(Format::Text, "r", LIMIT);
        assert!(page.has_room(LIMIT + 1));
        page.add(|out| out.resize(LIMIT / 2, b'1'));
        assert!(page.has_room(LIMIT / 3));
        assert!(!page.has_room(LIMIT / 2));
    }
}
