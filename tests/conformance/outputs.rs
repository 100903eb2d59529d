//! What [`Output`] promises.

use std::sync::Arc;

use bytes::Bytes;
use fhir_export::bulk::block::{BlockId, Blocks};
use fhir_export::bulk::coding::Coding;
use fhir_export::ports::{ErrorKind, Output, PortError};
use futures::TryStreamExt;

const NAME: &str = "0123456789abcdef0123456789abcdef/Patient-0-0-1.ndjson";

/// The block that holds its own two numbers.
async fn stage(output: &Arc<dyn Output>, id: BlockId) {
    output.stage(NAME, id, text(id).into()).await.unwrap();
}

fn text(id: BlockId) -> String {
    format!("{}.{}\n", id.attempt, id.number)
}

fn block(attempt: u32, number: u32) -> BlockId {
    BlockId { attempt, number }
}

fn list(ids: &[BlockId]) -> Blocks {
    let mut blocks = Blocks::default();
    ids.iter().for_each(|id| blocks.push(*id));
    blocks
}

async fn assert_holds(output: &Arc<dyn Output>, ids: &[BlockId]) {
    let expected: String = ids.iter().map(|id| text(*id)).collect();
    let found = output.read(NAME, 0, expected.len() as u64).await.unwrap();
    assert_eq!(found, expected);
    // And not a byte more.
    assert_kind(output.read(NAME, 0, expected.len() as u64 + 1).await, ErrorKind::Broken);
}

#[track_caller]
fn assert_kind<T>(answer: Result<T, PortError>, expected: ErrorKind) {
    let Err(error) = answer else { panic!("no error, but {expected:?}") };
    assert_eq!(error.kind, expected, "{error}");
}

pub async fn a_container_is_prepared_as_often_as_one_likes(output: &Arc<dyn Output>) {
    output.prepare().await.unwrap();
    stage(output, block(1, 0)).await;
    output.commit(NAME, &list(&[block(1, 0)]), Coding::None).await.unwrap();
    output.prepare().await.unwrap();
    assert_holds(output, &[block(1, 0)]).await;
}

pub async fn what_is_staged_is_not_seen(output: &Arc<dyn Output>) {
    stage(output, block(1, 0)).await;
    assert_kind(output.read(NAME, 0, 1).await, ErrorKind::NotFound);
}

pub async fn a_blob_is_exactly_its_list_of_blocks(output: &Arc<dyn Output>) {
    let ids = [block(1, 0), block(1, 1), block(4, 0), block(4, 1), block(u32::MAX, 0)];
    for id in ids.iter().rev() {
        stage(output, *id).await;
    }
    stage(output, block(2, 0)).await;
    output.commit(NAME, &list(&ids), Coding::None).await.unwrap();
    assert_holds(output, &ids).await;
    assert_eq!(output.read(NAME, 4, 8).await.unwrap(), text(block(1, 1)));
}

pub async fn a_commit_can_be_repeated(output: &Arc<dyn Output>) {
    let ids = [block(1, 0), block(1, 1)];
    for id in ids {
        stage(output, id).await;
    }
    for _ in 0..3 {
        output.commit(NAME, &list(&ids), Coding::None).await.unwrap();
        assert_holds(output, &ids).await;
    }
}

pub async fn a_commit_may_add_to_a_committed_blob(output: &Arc<dyn Output>) {
    stage(output, block(1, 0)).await;
    output.commit(NAME, &list(&[block(1, 0)]), Coding::None).await.unwrap();
    stage(output, block(2, 0)).await;
    assert_holds(output, &[block(1, 0)]).await;
    let both = [block(1, 0), block(2, 0)];
    output.commit(NAME, &list(&both), Coding::None).await.unwrap();
    assert_holds(output, &both).await;
}

pub async fn a_commit_of_a_missing_block_is_a_conflict(output: &Arc<dyn Output>) {
    stage(output, block(1, 0)).await;
    assert_kind(output.commit(NAME, &list(&[block(1, 0), block(1, 1)]), Coding::None).await, ErrorKind::Conflict);
    assert_kind(output.read(NAME, 0, 1).await, ErrorKind::NotFound);
    let other = "0123456789abcdef0123456789abcdef/never-staged.ndjson";
    assert_kind(output.commit(other, &list(&[block(1, 0)]), Coding::None).await, ErrorKind::Conflict);
    // What was staged is still there.
    output.commit(NAME, &list(&[block(1, 0)]), Coding::None).await.unwrap();
    assert_holds(output, &[block(1, 0)]).await;
}

pub async fn a_commit_drops_what_it_does_not_list(output: &Arc<dyn Output>) {
    for id in [block(1, 0), block(2, 0)] {
        stage(output, id).await;
    }
    output.commit(NAME, &list(&[block(1, 0)]), Coding::None).await.unwrap();
    assert_kind(output.commit(NAME, &list(&[block(1, 0), block(2, 0)]), Coding::None).await, ErrorKind::Conflict);
    assert_holds(output, &[block(1, 0)]).await;
}

pub async fn a_block_staged_again_is_replaced(output: &Arc<dyn Output>) {
    output.stage(NAME, block(1, 0), "something longer".into()).await.unwrap();
    stage(output, block(1, 0)).await;
    output.commit(NAME, &list(&[block(1, 0)]), Coding::None).await.unwrap();
    assert_holds(output, &[block(1, 0)]).await;
}

pub async fn a_removed_blob_cannot_be_committed_late(output: &Arc<dyn Output>) {
    let ids = [block(1, 0), block(1, 1)];
    stage(output, ids[0]).await;
    output.remove(NAME).await.unwrap();
    assert_kind(output.commit(NAME, &list(&ids[..1]), Coding::None).await, ErrorKind::Conflict);

    for id in ids {
        stage(output, id).await;
    }
    output.commit(NAME, &list(&ids), Coding::None).await.unwrap();
    output.remove(NAME).await.unwrap();
    assert_kind(output.read(NAME, 0, 1).await, ErrorKind::NotFound);
    assert_kind(output.commit(NAME, &list(&ids), Coding::None).await, ErrorKind::Conflict);
    assert_kind(output.read(NAME, 0, 1).await, ErrorKind::NotFound);
}

pub async fn a_removal_can_be_repeated(output: &Arc<dyn Output>) {
    output.remove(NAME).await.unwrap();
    stage(output, block(1, 0)).await;
    output.remove(NAME).await.unwrap();
    output.remove(NAME).await.unwrap();
    assert_kind(output.read(NAME, 0, 1).await, ErrorKind::NotFound);
}

pub async fn only_what_is_there_can_be_read(output: &Arc<dyn Output>) {
    assert_kind(output.read(NAME, 0, 1).await, ErrorKind::NotFound);
    stage(output, block(1, 0)).await;
    output.commit(NAME, &list(&[block(1, 0)]), Coding::None).await.unwrap();
    assert_kind(output.read(NAME, 1, 5).await, ErrorKind::Broken);
    assert_kind(output.read(NAME, 100, 101).await, ErrorKind::Broken);
}

pub async fn a_blob_tells_its_size_and_a_tag_that_is_its_own(output: &Arc<dyn Output>) {
    assert_kind(output.properties(NAME).await, ErrorKind::NotFound);
    stage(output, block(1, 0)).await;
    assert_kind(output.properties(NAME).await, ErrorKind::NotFound);
    output.commit(NAME, &list(&[block(1, 0)]), Coding::None).await.unwrap();
    let one = output.properties(NAME).await.unwrap();
    assert_eq!((one.bytes, one.encoding.as_deref()), (4, None));
    assert!(one.etag.starts_with('"') && one.etag.ends_with('"') && one.etag.len() > 2, "{}", one.etag);
    assert_eq!(output.properties(NAME).await.unwrap(), one);
    stage(output, block(2, 0)).await;
    output.commit(NAME, &list(&[block(1, 0), block(2, 0)]), Coding::None).await.unwrap();
    let two = output.properties(NAME).await.unwrap();
    assert_eq!(two.bytes, 8);
    assert_ne!(two.etag, one.etag);
}

pub async fn a_blob_tells_the_coding_that_it_was_committed_in(output: &Arc<dyn Output>) {
    let blocks = list(&[block(1, 0)]);
    for (coding, told) in [(Coding::Gzip, Some("gzip")), (Coding::None, None)] {
        stage(output, block(1, 0)).await;
        output.commit(NAME, &blocks, coding).await.unwrap();
        let stored = output.properties(NAME).await.unwrap();
        assert_eq!((stored.bytes, stored.encoding.as_deref()), (4, told));
        // The bytes are those that were staged, whatever they are said to be.
        assert_holds(output, &[block(1, 0)]).await;
    }
}

pub async fn a_blob_is_streamed_from_any_byte_to_any_other(output: &Arc<dyn Output>) {
    assert_kind(output.stream(NAME, 0, 1).await.map(drop), ErrorKind::NotFound);
    // More than the service's clients take at a time.
    let content: Bytes = (0..9_000_000u32).map(|at| (at / 1000) as u8).collect::<Vec<_>>().into();
    output.stage(NAME, block(1, 0), content.slice(..4_500_000).into()).await.unwrap();
    output.stage(NAME, block(1, 1), content.slice(4_500_000..).into()).await.unwrap();
    output.commit(NAME, &list(&[block(1, 0), block(1, 1)]), Coding::None).await.unwrap();
    let size = content.len() as u64;
    for (from, to) in [(0, 1), (0, size), (4_499_999, 4_500_001), (7, 8_999_999), (size - 1, size)] {
        let parts: Vec<Bytes> = output.stream(NAME, from, to).await.unwrap().try_collect().await.unwrap();
        assert!(parts.concat() == content[from as usize..to as usize], "{from} to {to}");
    }
    // The service refuses what begins beyond the end, its emulator gives nothing: who counts sees both.
    match output.stream(NAME, size, size + 1).await {
        Err(error) => assert_eq!(error.kind, ErrorKind::Broken, "{error}"),
        Ok(nothing) => assert_eq!(nothing.try_collect::<Vec<Bytes>>().await.unwrap().concat(), b""),
    }
    let cut: Vec<Bytes> = output.stream(NAME, size - 3, size + 3).await.unwrap().try_collect().await.unwrap();
    assert_eq!(cut.concat(), content[content.len() - 3..]);
}
