//! What can go wrong before a request exists: a configuration that cannot be trusted, a listener that cannot open.
//! A refusal of a request is no error; it is a value of [`crate::reply`].

use std::{fmt, io, net::SocketAddr};

/// One thing wrong with the configuration of an HTTP target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, such as `http.billing.operations[2].path`.
    pub place: String,
    /// What is wrong there, with the value in backticks.
    pub why: String,
    /// What to write instead.
    pub remedy: String,
}

impl Fault {
    pub(crate) fn new(place: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}\n\nhint: {}", self.place, self.why, self.remedy)
    }
}

/// The gateway could not open its listeners.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on `{addr}` for target `{target}`")]
    Bind {
        addr: SocketAddr,
        target: String,
        #[source]
        source: io::Error,
    },
    #[error("several targets listen on `{addr}`, and not all of them name their `hosts`")]
    Shared { addr: SocketAddr },
    #[error("cannot find out which address the listener of target `{target}` got")]
    Address {
        target: String,
        #[source]
        source: io::Error,
    },
}
