//! What can go wrong before a request exists. A refusal of a request is no error; it is a value of [`crate::reply`].

use countersign_pep::ListenError;
use std::net::SocketAddr;

/// The gateway could not open its listeners.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("several targets listen on `{addr}`, and not all of them name their `hosts`")]
    Shared { addr: SocketAddr },
}
