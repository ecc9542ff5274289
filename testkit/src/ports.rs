//! Ports for peers that must be told theirs before they start.
//!
//! They lie below the kernel's own choices, so that nothing that asks it for a port, and no outgoing connection, gets one
//! of them while its peer still starts; and each is locked for as long as this process lives, so that no other test does
//! either.

use std::{
    fs::{self, File, TryLockError},
    io,
    net::TcpListener,
    path::Path,
    sync::Mutex,
};

/// How many ports below the kernel's own are ours to give.
const ROOM: u16 = 12_000;
/// Locked until this process ends.
static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A loopback port that nobody listens on and nobody else is given.
pub fn free() -> io::Result<u16> {
    claim(1)
}

/// A port like [`free`]'s whose next one is free, too.
pub fn free_pair() -> io::Result<u16> {
    claim(2)
}

/// The first of so many ports in a row.
fn claim(count: u16) -> io::Result<u16> {
    let folder = std::env::temp_dir().join("countersign-ports");
    fs::create_dir_all(&folder)?;
    let end = end_of_room()?;
    let start = end.saturating_sub(ROOM).max(1024);
    let room = end.saturating_sub(start).saturating_sub(count).max(1);
    // Processes that start one after the other begin apart.
    let first = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(room)).unwrap_or(0);
    for step in 0..room {
        let port = start + (first + step) % room;
        let mut locks = Vec::new();
        for next in port..port + count {
            locks.extend(lock(&folder, next)?);
        }
        if locks.len() == usize::from(count) {
            CLAIMED
                .lock()
                .map_err(|_| io::Error::other("a thread that claimed a port panicked"))?
                .extend(locks);
            return Ok(port);
        }
    }
    Err(io::Error::from(io::ErrorKind::AddrInUse))
}

/// The lock on this port, if it is free.
fn lock(folder: &Path, port: u16) -> io::Result<Option<File>> {
    let file = File::create(folder.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The first port that the kernel chooses by itself.
fn end_of_room() -> io::Result<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first
        .filter(|first| *first > 2048)
        .ok_or_else(|| io::Error::other("no room below the kernel's own ports"))
}
