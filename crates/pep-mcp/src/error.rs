//! What can go wrong before a message exists. A refusal of a message is no error; it is a reply.

use countersign_pep::ListenError;
use std::net::SocketAddr;

/// The gateway could not open its listeners.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("several targets listen on `{addr}` at the path `{path}`")]
    Shared { addr: SocketAddr, path: String },
}
