//! Towards targets: connections, the credential, and the exchange itself. Only a clearance's bytes go out, only to
//! the configured origin, and never twice; no redirect is followed.

pub mod credential;
pub(crate) mod live;
pub(crate) mod pool;
pub(crate) mod relay;
pub(crate) mod send;
mod stored;

pub use stored::HttpUpstream;
