//! What a chat that comes to a door of its own is answered, whichever chat it is.

use http::HeaderMap;
use serde_json::Value;

/// What the chat is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It was taken in.
    Taken,
    Text(String),
    Json(Value),
    NotBelieved(NotBelieved),
    /// It is the chat's, and cannot be read.
    Unreadable,
    /// Too much is under way, or what was said is not durable in time. It may be said again.
    Busy,
}

/// Why a request is not taken to be the chat's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    #[error("no signature of the chat's vouches for it")]
    Wrong,
    #[error("it was signed too long ago, or in the future")]
    Time,
    #[error("what its signature is checked with is not here")]
    NoKey,
}

/// The value of a header that is there once.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}
