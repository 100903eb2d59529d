//! The body of Put Block List.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::reply::Refusal;

/// Where a listed block is to be taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Committed,
    Uncommitted,
    /// Uncommitted if there is one, else committed.
    Latest,
}

/// Reads `<BlockList><Latest>…</Latest>…</BlockList>`.
pub fn parse(xml: &[u8]) -> Result<Vec<(From, Vec<u8>)>, Refusal> {
    let xml = std::str::from_utf8(xml).ok().ok_or(Refusal::BAD_XML)?;
    let xml = xml.trim_start_matches('\u{feff}').trim();
    let xml = match xml.strip_prefix("<?xml") {
        Some(declared) => declared.split_once("?>").ok_or(Refusal::BAD_XML)?.1.trim_start(),
        None => xml,
    };
    if let Some("") = xml.strip_prefix("<BlockList").and_then(|rest| rest.trim_start().strip_prefix("/>")) {
        return Ok(Vec::new());
    }
    let list = xml.strip_prefix("<BlockList>").and_then(|rest| rest.strip_suffix("</BlockList>"));
    let mut rest = list.ok_or(Refusal::BAD_XML)?.trim();
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(Refusal::BAD_XML)?;
        let from = match name {
            "Committed" => From::Committed,
            "Uncommitted" => From::Uncommitted,
            "Latest" => From::Latest,
            _ => return Err(Refusal::BAD_XML),
        };
        let (id, after) = after.split_once(&format!("</{name}>")).ok_or(Refusal::BAD_XML)?;
        blocks.push((from, STANDARD.decode(id.trim()).map_err(|_| Refusal::BAD_BLOCK_LIST)?));
        rest = after.trim_start();
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_its_order() {
        let xml = b"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>\n  <Latest>AAE=</Latest>
            <Committed>AAI=</Committed><Uncommitted>AAA=</Uncommitted></BlockList>";
        let expected = [(From::Latest, vec![0, 1]), (From::Committed, vec![0, 2]), (From::Uncommitted, vec![0, 0])];
        assert_eq!(parse(xml).unwrap(), expected);
        for empty in ["<BlockList></BlockList>", "<BlockList/>", "<?xml version=\"1.0\"?><BlockList />"] {
            assert_eq!(parse(empty.as_bytes()).unwrap(), []);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for xml in
            ["", "<BlockList>", "<Blocks/>", "<BlockList><Oldest>AA==</Oldest></BlockList>", "<BlockList>x</BlockList>"]
        {
            assert_eq!(parse(xml.as_bytes()), Err(Refusal::BAD_XML), "{xml}");
        }
        assert_eq!(parse(b"<BlockList><Latest>?</Latest></BlockList>"), Err(Refusal::BAD_BLOCK_LIST));
    }
}
