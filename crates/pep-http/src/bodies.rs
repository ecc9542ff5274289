//! Bodies that are read before deciding: whole, exact, and within one bound for all connections together. Small ones
//! stay in memory. A larger one goes to a file without a name as it comes in; it is in memory only while it is decided on
//! and recorded, and is sent from its file. Where there is no room, it is refused; nothing is ever cut off.

mod spilled;

pub(crate) use spilled::{Spilled, SpilledBody};

use bytes::{Bytes, BytesMut};
use countersign_engine::port::upstream::BindError;
use countersign_pep::{Fault, Size};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use spilled::Spilling;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Room is counted in pieces of this many bytes.
const PIECE: usize = 1 << 10;
/// What a body costs in memory while it is decided on: itself, the ledger's copy, and the stored action's form.
const COPIES: usize = 3;

/// The `[bodies]` section, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct BodiesSection {
    /// A body larger than this goes to a file while it is read.
    pub in_memory: Size,
    /// Memory for all bodies together: half for small ones, half for deciding on those in files.
    pub memory: Size,
    /// Room in the data folder for all bodies together.
    pub disk: Size,
}

impl Default for BodiesSection {
    fn default() -> Self {
        Self { in_memory: Size(64 << 10), memory: Size(64 << 20), disk: Size(1 << 30) }
    }
}

impl BodiesSection {
    /// The largest `body_limit` these bounds have room for.
    pub const fn largest(&self) -> usize {
        let decided_on = self.memory.0 / 2 / COPIES;
        if decided_on < self.disk.0 { decided_on } else { self.disk.0 }
    }

    /// What cannot work.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.in_memory.0 > self.memory.0 / 2 {
            let why = format!("`{}` bytes are more than half of `memory`", self.in_memory.0);
            faults.push(Fault::new("bodies.in_memory", why, "make `memory` larger, or this smaller"));
        }
        if self.memory.0 < 1 << 20 {
            let why = format!("`{}` bytes are too few to decide on anything", self.memory.0);
            faults.push(Fault::new("bodies.memory", why, "write at least `1MiB`"));
        }
        faults
    }

    /// What is wrong with a target's `body_limit`.
    pub fn limit_fault(&self, target: &str, body_limit: usize) -> Option<Fault> {
        (body_limit > self.largest()).then(|| {
            let why = format!("`{body_limit}` bytes are more than the {} that `[bodies]` has room for", self.largest());
            let needed = (body_limit * 2 * COPIES).div_ceil(1 << 20);
            let remedy = format!("make it smaller, or `bodies.memory` at least `{needed}MiB` and `bodies.disk` larger than this");
            Fault::new(format!("http.{target}.body_limit"), why, remedy)
        })
    }
}

/// The room there is for bodies.
#[derive(Debug)]
pub struct Bodies {
    in_memory: usize,
    folder: PathBuf,
    small: Arc<Semaphore>,
    deciding: Arc<Semaphore>,
    disk: Arc<Semaphore>,
    decided_on: usize,
}

/// A body, whole.
#[derive(Debug)]
pub(crate) struct Whole {
    /// Gives its room back when the last of it is let go.
    pub(crate) bytes: Bytes,
    /// The same bytes outside memory.
    pub(crate) spilled: Option<Spilled>,
}

/// Bytes and the room they take.
struct Housed {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Housed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// `folder` must be writable for the gateway alone; nothing with a name is ever put there.
    pub fn new(section: &BodiesSection, folder: PathBuf) -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new((bytes / PIECE).min(Semaphore::MAX_PERMITS)));
        let half = section.memory.0 / 2;
        Self {
            in_memory: section.in_memory.0,
            folder,
            small: room(half),
            deciding: room(half),
            disk: room(section.disk.0),
            decided_on: half,
        }
    }

    /// Reads a body whole, up to a limit, without waiting for a caller who stops sending.
    pub(crate) async fn read<B>(&self, mut body: B, limit: usize, idle: Duration) -> Result<Whole, BindError>
    where
        B: http_body::Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        let too_large = || BindError::TooLarge { limit_bytes: limit as u64 };
        let broken = |why: &str| BindError::Broken(why.into());
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let mut reading = Reading::Small { bytes: BytesMut::new(), room: None };
        let mut length = 0;
        loop {
            let frame = timeout(idle, body.frame()).await;
            let frame = match frame.map_err(|_| broken("the caller stopped sending"))? {
                None => break,
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(BindError::Broken(error.to_string())),
            };
            let data = frame.into_data().map_err(|_| broken("trailers are not accepted"))?;
            length += data.len();
            if length > limit {
                return Err(too_large());
            }
            reading = reading.take(self, &data).await?;
        }
        match reading {
            Reading::Small { bytes, room } => {
                let bytes = Bytes::from_owner(Housed { bytes: bytes.freeze(), _room: room });
                Ok(Whole { bytes, spilled: None })
            }
            Reading::Spilling(file) => self.decide_on(file.whole().await?, idle).await,
        }
    }

    /// Takes a body into memory for as long as it is decided on, once there is room.
    async fn decide_on(&self, spilled: Spilled, patience: Duration) -> Result<Whole, BindError> {
        let wanted = pieces((spilled.length() * COPIES).min(self.decided_on));
        let room = timeout(patience, Arc::clone(&self.deciding).acquire_many_owned(wanted)).await;
        let room = room
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| no_room("too many large bodies are being decided on"))?;
        let bytes = Bytes::from_owner(Housed { bytes: spilled.load().await?, _room: Some(room) });
        Ok(Whole { bytes, spilled: Some(spilled) })
    }
}

enum Reading {
    Small { bytes: BytesMut, room: Option<OwnedSemaphorePermit> },
    Spilling(Spilling),
}

impl Reading {
    async fn take(self, bodies: &Bodies, data: &[u8]) -> Result<Self, BindError> {
        match self {
            Self::Small { mut bytes, mut room } => {
                let length = bytes.len() + data.len();
                if length <= bodies.in_memory && grow(&mut room, &bodies.small, length) {
                    bytes.extend_from_slice(data);
                    return Ok(Self::Small { bytes, room });
                }
                let mut file = Spilling::begin(&bodies.folder, Arc::clone(&bodies.disk)).await?;
                file.write(&bytes).await?;
                file.write(data).await?;
                Ok(Self::Spilling(file))
            }
            Self::Spilling(mut file) => {
                file.write(data).await?;
                Ok(Self::Spilling(file))
            }
        }
    }
}

/// Makes the room as large as so many bytes need; `false` when there is no more.
fn grow(room: &mut Option<OwnedSemaphorePermit>, from: &Arc<Semaphore>, length: usize) -> bool {
    let has = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let Ok(more) = u32::try_from((pieces(length) as usize).saturating_sub(has)) else { return false };
    let Ok(fresh) = Arc::clone(from).try_acquire_many_owned(more) else { return false };
    match room {
        Some(room) => room.merge(fresh),
        None => *room = Some(fresh),
    }
    true
}

fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

fn no_room(why: impl Into<String>) -> BindError {
    BindError::NoRoom { why: why.into() }
}

#[cfg(test)]
mod tests;
