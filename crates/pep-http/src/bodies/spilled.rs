//! A body in a file without a name: nobody else can open it, and nothing of it is left when it is let go, or when the
//! process ends.

use super::{grow, no_room};
use crate::upstream::send::BoxError;
use bytes::Bytes;
use countersign_core::Digest;
use countersign_engine::port::upstream::BindError;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead as _, AsyncSeekExt as _, AsyncWriteExt as _, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// How much is read and written at once.
const CHUNK: usize = 32 << 10;

/// A body being written down.
pub(super) struct Spilling {
    file: tokio::fs::File,
    length: usize,
    hasher: Sha256,
    disk: Arc<Semaphore>,
    room: Option<OwnedSemaphorePermit>,
}

/// A whole body in its file.
#[derive(Debug)]
pub(crate) struct Spilled {
    file: Arc<File>,
    length: usize,
    digest: Digest,
    _room: Option<OwnedSemaphorePermit>,
}

impl Spilling {
    pub(super) async fn begin(folder: &Path, disk: Arc<Semaphore>) -> Result<Self, BindError> {
        let folder: PathBuf = folder.to_owned();
        let made = spawn_blocking(move || {
            let file = tempfile::tempfile_in(folder)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok(file)
        });
        let made = made.await.map_err(io::Error::other).flatten();
        Ok(Self::into_file(made.map_err(|error| unwritable(&error))?, disk))
    }

    pub(super) fn into_file(file: File, disk: Arc<Semaphore>) -> Self {
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK);
        Self { file, length: 0, hasher: Sha256::new(), disk, room: None }
    }

    pub(super) async fn write(&mut self, data: &[u8]) -> Result<(), BindError> {
        if !grow(&mut self.room, &self.disk, self.length + data.len()) {
            return Err(no_room(
                "the bodies that are being read fill all the room on disk there is for them",
            ));
        }
        self.hasher.update(data);
        self.length += data.len();
        self.file.write_all(data).await.map_err(|error| unwritable(&error))
    }

    pub(super) async fn whole(mut self) -> Result<Spilled, BindError> {
        // What was written behind our back fails here at the latest.
        self.file.flush().await.map_err(|error| unwritable(&error))?;
        Ok(Spilled {
            file: Arc::new(self.file.into_std().await),
            length: self.length,
            digest: Digest(self.hasher.finalize().into()),
            _room: self.room,
        })
    }
}

impl Spilled {
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The whole body in memory.
    pub(super) async fn load(&self) -> Result<Bytes, BindError> {
        let (file, length, digest) = (Arc::clone(&self.file), self.length, self.digest);
        let read = spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        });
        let bytes = read.await.map_err(io::Error::other).flatten().map_err(|error| unwritable(&error))?;
        if Digest::of(&bytes) == digest {
            Ok(bytes.into())
        } else {
            Err(no_room("the disk gave back other bytes than were written"))
        }
    }

    /// The whole body on its way to the target.
    pub(crate) async fn body(self) -> io::Result<SpilledBody> {
        let Self { file, length, digest, _room: room } = self;
        let file = Arc::try_unwrap(file).or_else(|shared| shared.try_clone())?;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK);
        file.rewind().await?;
        Ok(SpilledBody { file, left: length, hasher: Sha256::new(), digest, _room: room })
    }
}

/// A spilled body as it is sent. The last piece goes out only if all of it is what was decided on.
pub(crate) struct SpilledBody {
    file: tokio::fs::File,
    left: usize,
    hasher: Sha256,
    digest: Digest,
    _room: Option<OwnedSemaphorePermit>,
}

impl SpilledBody {
    pub(crate) fn left(&self) -> u64 {
        self.left as u64
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; CHUNK.min(self.left)];
        let mut buffer = ReadBuf::new(&mut chunk);
        if let Err(error) = ready!(Pin::new(&mut self.file).poll_read(cx, &mut buffer)) {
            return Poll::Ready(Some(Err(error.into())));
        }
        let read = buffer.filled().len();
        chunk.truncate(read);
        if read == 0 {
            return Poll::Ready(Some(Err("the body's file ended early".into())));
        }
        self.hasher.update(&chunk);
        self.left -= read;
        // INVARIANT: what was decided on is what is sent; a target never sees the end of anything else.
        if self.left == 0 && Digest(self.hasher.clone().finalize().into()) != self.digest {
            return Poll::Ready(Some(Err("the body's file is not what was decided on".into())));
        }
        Poll::Ready(Some(Ok(chunk.into())))
    }
}

fn unwritable(error: &io::Error) -> BindError {
    tracing::warn!(%error, "a body could not be kept on disk");
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    let is_full = full.contains(&error.kind());
    no_room(if is_full { "the disk is full" } else { "the body could not be kept on disk" })
}
