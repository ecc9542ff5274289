//! The high-water mark: the newest signed checkpoint, kept apart from the database, so that a restored backup or a
//! cloned machine is recognised before anything runs.
//!
//! Two places in one file are written in turn, each with a checksum: a crash leaves the older one. Writing does
//! not wait for the disk; [`MarkFile::sync`] does.

use crate::{
    checkpoint::Checkpoint,
    error::{MarkError, NoteError, Rollback, TreeError},
    note::VerifierKey,
    tree::Hash,
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

const SLOT: usize = 2048;
const HEADER: usize = 8 + 8 + 32;

/// What was committed at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub size: u64,
    pub root: Hash,
}

/// The file that holds the mark.
#[derive(Debug)]
pub struct MarkFile {
    file: File,
    path: String,
    /// How often it was written; decides which place is next.
    turn: u64,
    note: Option<String>,
}

impl MarkFile {
    /// Opens or creates the file and finds the newest whole mark in it.
    pub fn open(path: &Path) -> Result<Self, MarkError> {
        let shown = path.display().to_string();
        let io = |source| MarkError::Io { path: shown.clone(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut newest: Option<(u64, String)> = None;
        for place in 0..2 {
            let slot = read_slot(&file, place).map_err(io)?;
            newest = newest.into_iter().chain(slot).max_by_key(|(turn, _)| *turn);
        }
        if newest.is_none() && length > 0 {
            return Err(MarkError::Damaged { path: shown });
        }
        let (turn, note) = newest.map_or((0, None), |(turn, note)| (turn, Some(note)));
        Ok(Self { file, path: shown, turn, note })
    }

    /// The mark, if there is one and any of the log's keys signed it.
    pub fn mark(&self, keys: &[&VerifierKey]) -> Result<Option<Mark>, MarkError> {
        let Some(note) = &self.note else { return Ok(None) };
        let mut refusal = NoteError::Malformed("no key given");
        for key in keys {
            match Checkpoint::open(note, key) {
                Ok(Checkpoint { size, root, .. }) => return Ok(Some(Mark { size, root })),
                Err(error) => refusal = error,
            }
        }
        Err(MarkError::Foreign { path: self.path.clone(), source: refusal })
    }

    /// Writes the signed checkpoint of a commit. Cheap: one write, no flush.
    pub fn store(&mut self, note: &str) -> Result<(), MarkError> {
        let slot = write_slot(self.turn + 1, note).ok_or(MarkError::TooLong)?;
        let place = (self.turn + 1) % 2 * SLOT as u64;
        let written = self.file.write_all_at(&slot, place);
        written.map_err(|source| MarkError::Io { path: self.path.clone(), source })?;
        self.turn += 1;
        self.note = Some(note.to_owned());
        Ok(())
    }

    /// Makes what was stored durable.
    pub fn sync(&self) -> Result<(), MarkError> {
        self.file.sync_data().map_err(|source| MarkError::Io { path: self.path.clone(), source })
    }
}

/// That the local log is not behind the mark and has the marked tree as its beginning. `root_at` gives the root of
/// the first entries of the local log, computed from its leaves. Only an empty log may be without a mark.
pub fn check(
    mark: Option<&Mark>,
    local_size: u64,
    root_at: impl FnOnce(u64) -> Result<Hash, TreeError>,
) -> Result<(), Rollback> {
    let Some(mark) = mark else {
        return if local_size == 0 { Ok(()) } else { Err(Rollback::NoMark { local: local_size }) };
    };
    if local_size < mark.size {
        return Err(Rollback::Shorter { local: local_size, mark: mark.size });
    }
    if root_at(mark.size)? == mark.root { Ok(()) } else { Err(Rollback::Rewritten { size: mark.size }) }
}

fn write_slot(turn: u64, note: &str) -> Option<Vec<u8>> {
    if note.len() > SLOT - HEADER {
        return None;
    }
    let mut body = turn.to_be_bytes().to_vec();
    body.extend_from_slice(&(note.len() as u64).to_be_bytes());
    body.extend_from_slice(note.as_bytes());
    let mut slot = Sha256::digest(&body).to_vec();
    slot.extend_from_slice(&body);
    slot.resize(SLOT, 0);
    Some(slot)
}

/// The slot's turn and note; `None` when it was never written, or not to its end.
fn read_slot(file: &File, place: u64) -> io::Result<Option<(u64, String)>> {
    let mut slot = vec![0; SLOT];
    match file.read_exact_at(&mut slot, place * SLOT as u64) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok(parse_slot(&slot))
}

fn parse_slot(slot: &[u8]) -> Option<(u64, String)> {
    let (checksum, body) = slot.split_first_chunk::<32>()?;
    let (turn, rest) = body.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let note = rest.get(..length)?;
    let whole = <[u8; 32]>::from(Sha256::digest(body.get(..16 + length)?)) == *checksum;
    let turn = u64::from_be_bytes(*turn);
    if whole && turn > 0 { String::from_utf8(note.to_vec()).ok().map(|note| (turn, note)) } else { None }
}

#[cfg(test)]
mod tests;
