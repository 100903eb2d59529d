//! The lines of a block as a member of a gzip file.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

/// So much is compressed before other steps of the process get their turn: about a millisecond.
const PIECE: usize = 256 << 10;

/// NDJSON repeats itself: the fastest level makes a tenth of it, and the best one little less for many times the work.
const LEVEL: Compression = Compression::fast();

pub(super) async fn gzip(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = GzEncoder::new(Vec::with_capacity(lines.len() / 8), LEVEL);
    for piece in lines.chunks(PIECE) {
        member.write_all(piece)?;
        tokio::task::yield_now().await;
    }
    member.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::*;

    #[tokio::test]
    async fn members_one_after_the_other_are_a_file() {
        let blocks = ["{\"a\":1}\n".repeat(100_000), "{\"ä\":\"😀\"}\n".into(), "x".repeat(PIECE)];
        let mut file = Vec::new();
        for block in &blocks {
            file.extend(gzip(block.as_bytes()).await.unwrap());
        }
        let mut text = String::new();
        MultiGzDecoder::new(&file[..]).read_to_string(&mut text).unwrap();
        assert!(text == blocks.concat());
        assert!(file.len() < text.len() / 50);
    }
}
