//! What can go wrong beside a statement: a listener that cannot open, a session that cannot begin or go on. A refusal of a statement is no error; it is a value of [`crate::reply`].

use crate::frame::FrameError;
use countersign_pep::{ListenError, SecretError};
use std::io;

/// The gateway could not open its listeners.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the threads that read SQL could not be started")]
    Threads(#[source] io::Error),
}

/// Why the database could not be logged in to. Nothing of any statement was sent.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("the database could not be reached")]
    Connect(#[source] io::Error),
    #[error("the database took too long to answer")]
    TooLate,
    #[error("the database does not offer TLS, and the target demands it")]
    NoTls,
    #[error("the database's certificate is not accepted")]
    Tls(#[source] io::Error),
    #[error(transparent)]
    Credential(#[from] SecretError),
    #[error("the database asks for a way to log in that is not offered: {0}")]
    Method(String),
    #[error("the database does not prove that it knows the password")]
    NotProven,
    #[error("the database refused the gateway's login: {0}")]
    Refused(String),
    #[error("the database speaks no protocol that is understood here")]
    Protocol(#[from] FrameError),
    #[error("the database does not say when its sessions become read-only; PostgreSQL 14 or later is needed")]
    TooOld,
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the client left")]
    ClientGone,
    #[error("the client's bytes are no protocol")]
    Client(#[source] FrameError),
    #[error("the database was lost")]
    ServerGone,
    #[error("the database's bytes are no protocol")]
    Server(#[source] FrameError),
    #[error("the database answered with a message that nothing asked for: `{}`", char::from(*.0))]
    Unexpected(u8),
    #[error("the session could not be guarded: {0}")]
    NotGuarded(&'static str),
    #[error("a row of {size} bytes is too large to be masked, and what its statement did stands")]
    Unmaskable { size: usize },
    #[error("a copy within a pipeline left answers of the database that cannot be told apart")]
    Confused,
    #[error("nothing was said in the session for as long as it may rest{}", if *in_transaction { ", and its transaction was open" } else { "" })]
    Idle { in_transaction: bool },
    #[error("the gateway stops")]
    Stopping,
    #[error("the engine could not go on")]
    Engine(#[from] countersign_engine::Error),
}
