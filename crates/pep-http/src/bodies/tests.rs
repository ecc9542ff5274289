use super::*;
use crate::upstream::send::BoxError;
use futures_util::{FutureExt as _, stream};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use std::{
    convert::Infallible,
    fs::File,
    future::poll_fn,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, PermissionsExt as _},
    },
};
use tempfile::TempDir;

const IDLE: Duration = Duration::from_secs(20);

fn bodies(in_memory: usize, memory: usize, disk: usize) -> (Bodies, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let section = BodiesSection { in_memory: Size(in_memory), memory: Size(memory), disk: Size(disk) };
    (Bodies::new(&section, folder.path().to_owned()), folder)
}

fn noise(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

/// A body that comes in pieces of this size.
fn pieces_of(
    bytes: &Bytes,
    size: usize,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin + use<> {
    let pieces: Vec<_> =
        bytes.chunks(size).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    StreamBody::new(stream::iter(pieces))
}

async fn sent(spilled: Spilled) -> Result<Vec<u8>, BoxError> {
    let mut body = spilled.body().await.unwrap();
    let mut out = Vec::new();
    while let Some(piece) = poll_fn(|cx| body.poll(cx)).await {
        out.extend_from_slice(&piece?);
    }
    Ok(out)
}

fn free(bodies: &Bodies) -> (usize, usize, usize) {
    let free = |room: &Semaphore| room.available_permits() * PIECE;
    (free(&bodies.small), free(&bodies.deciding), free(&bodies.disk))
}

#[tokio::test]
async fn a_small_body_stays_in_memory_and_a_large_one_goes_to_a_file_nobody_can_open() {
    let (bodies, folder) = bodies(4 << 10, 2 << 20, 1 << 20);
    let before = free(&bodies);
    let small = noise(4 << 10);
    let whole = bodies.read(pieces_of(&small, 1000), 1 << 20, IDLE).await.unwrap();
    assert_eq!(whole.bytes, small);
    assert!(whole.spilled.is_none());
    assert_eq!(before.0 - free(&bodies).0, 4 << 10);
    drop(whole);

    let large = noise(200_001);
    let whole = bodies.read(pieces_of(&large, 7_777), 1 << 20, IDLE).await.unwrap();
    assert_eq!(whole.bytes, large);
    let spilled = whole.spilled.unwrap();
    assert_eq!(spilled.length(), large.len());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    let file = spilled.file();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert!(link.starts_with(folder.path()), "{}", link.display());
    // In memory only while it is decided on.
    assert_eq!(before.1 - free(&bodies).1, pieces(3 * large.len()) as usize * PIECE);
    let again = whole.bytes.clone();
    drop(whole.bytes);
    assert!(free(&bodies).1 < before.1);
    drop(again);
    assert_eq!(free(&bodies).1, before.1);
    assert!(free(&bodies).2 < before.2);
    assert_eq!(sent(spilled).await.unwrap(), large);
    assert_eq!(free(&bodies), before);
}

#[tokio::test]
async fn without_room_in_memory_a_small_body_goes_to_disk_and_without_both_it_is_refused() {
    let (bodies, _folder) = bodies(4 << 10, 2 << 20, 8 << 10);
    let small = Arc::clone(&bodies.small);
    let all = small.try_acquire_many(u32::try_from(small.available_permits()).unwrap()).unwrap();
    let body = noise(3_000);
    let first = bodies.read(pieces_of(&body, 100), 1 << 20, IDLE).await.unwrap();
    assert_eq!(first.bytes, body);
    assert!(first.spilled.is_some());
    let _second = bodies.read(pieces_of(&noise(4_096), 4_096), 1 << 20, IDLE).await.unwrap();
    let refused = bodies.read(pieces_of(&body, 100), 1 << 20, IDLE).await.unwrap_err();
    assert!(matches!(refused, BindError::NoRoom { .. }), "{refused}");
    assert!(refused.to_string().contains("on disk"), "{refused}");
    drop(first);
    bodies.read(pieces_of(&body, 100), 1 << 20, IDLE).await.unwrap();
    drop(all);
    assert!(bodies.read(pieces_of(&body, 100), 1 << 20, IDLE).await.unwrap().spilled.is_none());
}

#[tokio::test]
async fn large_bodies_are_decided_on_one_after_the_other_when_memory_is_short() {
    let (bodies, _folder) = bodies(4 << 10, 2 << 20, 4 << 20);
    let body = noise(300_000);
    let first = bodies.read(pieces_of(&body, 50_000), 1 << 20, IDLE).await.unwrap();
    let mut second = Box::pin(bodies.read(pieces_of(&body, 50_000), 1 << 20, IDLE));
    while free(&bodies).2 > (4 << 20) - 2 * 300_000 {
        assert!((&mut second).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert!((&mut second).now_or_never().is_none(), "there is memory for one at a time");
    let (first_bytes, first_file) = (first.bytes, first.spilled);
    drop(first_bytes);
    assert_eq!(second.await.unwrap().bytes, body, "the file of the first is kept, and its memory is not");
    drop(first_file);
    let deciding = Arc::clone(&bodies.deciding);
    let _all = deciding.acquire_many(u32::try_from(deciding.available_permits()).unwrap()).await.unwrap();
    let refused =
        bodies.read(pieces_of(&body, 50_000), 1 << 20, Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(refused, BindError::NoRoom { .. }), "{refused}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_says_so() {
    let (bodies, folder) = bodies(1 << 10, 2 << 20, 1 << 30);
    // Every write to it fails for want of space, as on a full disk.
    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    let disk = Arc::clone(&bodies.disk);
    let written = async {
        let mut file = Spilling::into_file(full, disk);
        file.write(&noise(100_000)).await?;
        file.whole().await.map(drop)
    };
    let written = written.await;
    assert_eq!(written, Err(BindError::NoRoom { why: "the disk is full".into() }));
    drop(folder);
    let gone = bodies.read(pieces_of(&noise(5_000), 500), 1 << 20, IDLE).await.unwrap_err();
    assert_eq!(gone, BindError::NoRoom { why: "the body could not be kept on disk".into() });
    assert_eq!(free(&bodies), (1 << 20, 1 << 20, 1 << 30));
}

#[tokio::test]
async fn a_file_that_was_changed_is_neither_decided_on_nor_sent_to_its_end() {
    let (bodies, _folder) = bodies(1 << 10, 2 << 20, 1 << 20);
    let body = noise(100_000);
    let whole = bodies.read(pieces_of(&body, 9_000), 1 << 20, IDLE).await.unwrap();
    let spilled = whole.spilled.unwrap();
    spilled.file().write_all_at(b"other", 50_000).unwrap();
    assert!(matches!(spilled.load().await, Err(BindError::NoRoom { .. })));
    let refused = sent(spilled).await.unwrap_err();
    assert!(refused.to_string().contains("not what was decided on"), "{refused}");
}

#[tokio::test]
async fn a_limit_is_kept_before_and_while_reading_and_nothing_stays_behind() {
    let (bodies, _folder) = bodies(1 << 10, 2 << 20, 1 << 20);
    let before = free(&bodies);
    let too_large = Err(BindError::TooLarge { limit_bytes: 5_000 });
    let announced = Full::new(noise(5_001));
    assert_eq!(bodies.read(announced, 5_000, IDLE).await.map(drop), too_large);
    assert_eq!(bodies.read(pieces_of(&noise(5_001), 400), 5_000, IDLE).await.map(drop), too_large);
    let cut = stream::iter([Ok(Frame::data(noise(3_000))), Err("gone")]);
    let broken = bodies.read(StreamBody::new(cut), 5_000, IDLE).await.map(drop);
    assert_eq!(broken, Err(BindError::Broken("gone".into())));
    let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let stopped = bodies.read(silent, 5_000, Duration::from_millis(1)).await.map(drop);
    assert_eq!(stopped, Err(BindError::Broken("the caller stopped sending".into())));
    assert_eq!(bodies.read(Full::new(noise(5_000)), 5_000, IDLE).await.unwrap().bytes.len(), 5_000);
    assert_eq!(free(&bodies), before);
}

#[test]
fn bounds_that_cannot_work_are_told_with_a_remedy() {
    let usual = BodiesSection::default();
    assert!(usual.faults().is_empty());
    assert!(usual.limit_fault("shop", 10 << 20).is_none());
    let fault = usual.limit_fault("shop", 11 << 20).unwrap();
    assert_eq!(fault.place, "http.shop.body_limit");
    assert!(fault.remedy.contains("`66MiB`"), "{fault:?}");
    let tight = BodiesSection { in_memory: Size(2 << 20), memory: Size(1 << 19), disk: Size(0) };
    let places: Vec<_> = tight.faults().into_iter().map(|fault| fault.place).collect();
    assert_eq!(places, ["bodies.in_memory", "bodies.memory"]);
}
