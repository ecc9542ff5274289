//! The static layout of the log (C2SP tlog-tiles v0.1.0): tiles of 256 hashes and bundles of 256 entries, readable by
//! any tool that knows the format.
//!
//! Tiles are a copy for readers. Nothing here is ever read back as truth.

use crate::{
    checkpoint::Checkpoint,
    error::ExportError,
    note::Note,
    reader::LedgerReader,
    tree::{Nodes, TileTree, range_root},
};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Entries in a full bundle and hashes in a full tile.
pub const WIDTH: u64 = 256;
/// Levels of the tree between two levels of tiles.
const LEVELS: u32 = 8;

/// `tile/<level>/<index>`, with `.p/<width>` when partial. Indexes are groups of three digits: `x001/x234/067`.
pub fn tile_path(level: u32, index: u64, width: u64) -> String {
    format!("tile/{level}/{}", place(index, width))
}

/// `tile/entries/<index>`, with `.p/<width>` when partial.
pub fn entries_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}", place(index, width))
}

fn place(index: u64, width: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH { format!("{text}.p/{width}") } else { text }
}

/// Entries behind each other, each after its length as a big-endian `uint16`.
pub fn entry_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// The `width` hashes of one tile.
pub fn hash_tile(
    nodes: &impl Nodes,
    level: u32,
    index: u64,
    width: u64,
) -> Result<Vec<u8>, crate::error::TreeError> {
    let mut out = Vec::new();
    for at in 0..width {
        out.extend_from_slice(&nodes.node(level * LEVELS, index * WIDTH + at)?);
    }
    Ok(out)
}

/// How many entries a folder of tiles holds already: what its checkpoint says, if that is one of this log. A folder
/// without a checkpoint is begun anew.
pub fn laid_out(
    folder: &Path,
    ledger: &(impl LedgerReader + ?Sized),
    tree: &mut TileTree,
) -> Result<u64, ExportError> {
    let note = match fs::read_to_string(folder.join("checkpoint")) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let (size, newest) = ledger.head()?;
    let read = |note: &str| Note::parse(note).and_then(|note| Checkpoint::parse(note.text));
    let (Ok(before), Ok(now)) = (read(&note), read(&newest)) else { return Err(ExportError::Foreign) };
    if before.origin != now.origin || before.size > size {
        return Err(ExportError::Foreign);
    }
    tree.grow(ledger, size)?;
    let root = match before.size {
        0 => crate::tree::empty_root(),
        before => range_root(&tree.over(ledger), 0, before)?,
    };
    if root == before.root { Ok(before.size) } else { Err(ExportError::Foreign) }
}

/// Brings a folder of tiles from `done` entries to the present size, the checkpoint last, and gives that size. What
/// was there before stays; a repeated call after a crash writes the same files again. `tree` is kept from call to
/// call; an empty one reads all leaf hashes once.
pub fn lay_out(
    folder: &Path,
    done: u64,
    ledger: &(impl LedgerReader + ?Sized),
    tree: &mut TileTree,
) -> Result<u64, ExportError> {
    let (size, checkpoint) = ledger.head()?;
    if done > size {
        return Err(ExportError::Range { from: done, to: size, size });
    }
    tree.grow(ledger, size)?;
    let nodes = tree.over(ledger);
    for (index, width) in touched(done, size) {
        let entries = (index * WIDTH..index * WIDTH + width).map(|at| ledger.entry(at));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let bundle = entry_bundle(entries.iter().map(AsRef::as_ref))?;
        place_file(&folder.join(entries_path(index, width)), &bundle)?;
    }
    for level in 0..=(u64::BITS / LEVELS) {
        let Some((done, size)) = done.checked_shr(level * LEVELS).zip(size.checked_shr(level * LEVELS))
        else {
            break;
        };
        for (index, width) in touched(done, size) {
            let tile = hash_tile(&nodes, level, index, width)?;
            place_file(&folder.join(tile_path(level, index, width)), &tile)?;
        }
    }
    place_file(&folder.join("checkpoint"), checkpoint.as_bytes())?;
    Ok(size)
}

/// The tiles that hold any of the items `done..size`, and how wide each is.
fn touched(done: u64, size: u64) -> impl Iterator<Item = (u64, u64)> {
    let tiles = if done < size { done / WIDTH..size.div_ceil(WIDTH) } else { 0..0 };
    tiles.map(move |index| (index, (size - index * WIDTH).min(WIDTH)))
}

/// Whole or not at all: written under another name, flushed, renamed, and the rename flushed.
fn place_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testlog::Log;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(tile_path(0, 0, 256), "tile/0/000");
        assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile_path(1, 1000, 17), "tile/1/x001/000.p/17");
        assert_eq!(entries_path(273, 112), "tile/entries/273.p/112");
    }

    #[test]
    fn entries_are_prefixed_with_their_length() {
        assert_eq!(entry_bundle([&b"ab"[..], b""]).unwrap(), b"\0\x02ab\0\0");
        assert!(entry_bundle([&vec![0; 65_536][..]]).is_err());
    }

    #[test]
    fn a_folder_says_how_far_it_is_and_one_of_another_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, mut tree) = (Log::new(), TileTree::default());
        log.fill(299);
        assert_eq!(laid_out(folder.path(), &log, &mut tree).unwrap(), 0);
        lay_out(folder.path(), 0, &log, &mut tree).unwrap();
        log.fill(10);
        assert_eq!(laid_out(folder.path(), &log, &mut tree).unwrap(), 300);
        assert_eq!(laid_out(folder.path(), &log, &mut TileTree::default()).unwrap(), 300);
        let mut shorter = Log::new();
        shorter.fill(50);
        let refused = laid_out(folder.path(), &shorter, &mut TileTree::default());
        assert!(matches!(refused, Err(ExportError::Foreign)), "{refused:?}");
        fs::write(folder.path().join("checkpoint"), "no note").unwrap();
        assert!(matches!(laid_out(folder.path(), &log, &mut tree), Err(ExportError::Foreign)));
    }

    #[test]
    fn tiles_lead_to_the_root_and_grow_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, mut tree) = (Log::new(), TileTree::default());
        log.fill(199);
        let reader: &dyn LedgerReader = &log;
        let done = lay_out(folder.path(), 0, reader, &mut tree).unwrap();
        assert_eq!(done, 200);
        log.fill(400);
        assert_eq!(lay_out(folder.path(), done, &log, &mut tree).unwrap(), 600);
        let read = |path: String| fs::read(folder.path().join(path)).unwrap();
        let mut leaves = [read(tile_path(0, 0, 256)), read(tile_path(0, 1, 256))].concat();
        leaves.extend(read(tile_path(0, 2, 88)));
        assert_eq!(leaves.len(), 600 * 32);
        let mut frontier = crate::Frontier::default();
        frontier.extend(leaves.as_chunks::<32>().0.iter().map(|hash| crate::LeafHash(*hash)));
        let (_, note) = log.head().unwrap();
        let checkpoint = Checkpoint::open(&note, log.verifier()).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (600, frontier.root()));
        assert_eq!(read("checkpoint".into()), note.as_bytes());
        let upper = read(tile_path(1, 0, 2));
        let first = crate::tree::root_of(
            &leaves.as_chunks::<32>().0[..256].iter().map(|hash| crate::LeafHash(*hash)).collect::<Vec<_>>(),
        );
        assert_eq!((upper.len(), &upper[..32]), (64, &first[..]));
        let bundle = read(entries_path(2, 88));
        let length = usize::from(u16::from_be_bytes([bundle[0], bundle[1]]));
        assert_eq!(&bundle[2..2 + length], &log.entry(512).unwrap()[..]);
    }
}
