//! Peers that are gone without a word: a machine without power, or behind a network that fell apart, sends no end of its
//! connection. Whoever waits for it has to ask.

use socket2::{SockRef, TcpKeepalive};
use std::{io, time::Duration};
use tokio::net::TcpStream;

/// How often a silent peer is asked before it is given up.
const ASKED: u32 = 3;
/// The system counts in seconds.
const LEAST: Duration = Duration::from_secs(1);

/// Has the system ask the other side for a sign of life once it gave none for `after`. One that gives none for as long
/// again, and three seconds at the least, is gone: whoever reads from it is told so.
pub fn keep_alive(stream: &TcpStream, after: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(after.max(LEAST))
        .with_interval((after / ASKED).max(LEAST))
        .with_retries(ASKED);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_silent_peer_is_asked_for_a_sign_of_life() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        for (after, asked) in [(30, [30, 10]), (1, [1, 1])] {
            keep_alive(&stream, Duration::from_secs(after)).unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            let [time, interval] = [socket.tcp_keepalive_time(), socket.tcp_keepalive_interval()];
            assert_eq!([time.unwrap(), interval.unwrap()], asked.map(Duration::from_secs));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), ASKED);
        }
    }
}
