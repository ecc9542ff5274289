//! Ports for peers that cannot tell which one they were given. The kernel chooses; whoever starts the peer tries
//! again with another one if somebody else was faster.

use std::{io, net::TcpListener};

/// A loopback port that was free a moment ago, as was the next one.
pub fn free_pair() -> io::Result<u16> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let first = TcpListener::bind(("127.0.0.1", 0))?;
        let port = first.local_addr()?.port();
        match port.checked_add(1).map(|next| TcpListener::bind(("127.0.0.1", next))) {
            Some(Ok(_)) => return Ok(port),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
    Err(last)
}

/// A loopback port that was free a moment ago.
pub fn free() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
