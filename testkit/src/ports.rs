//! Ports for peers that cannot tell which one they were given. The kernel chooses; whoever starts the peer tries
//! again with another one if somebody else was faster.

use std::{io, net::TcpListener};

/// A loopback port that was free a moment ago.
pub fn free() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
