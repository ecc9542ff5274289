//! Towards targets: connections, the credential, and the exchange itself. Only a clearance's bytes go out, only to
//! the configured origin, and never twice; no redirect is followed.

pub(crate) mod answer;
mod chunks;
mod http1;
pub(crate) mod live;
pub(crate) mod pool;
pub(crate) mod relay;
pub(crate) mod said;
pub(crate) mod send;
mod stored;
pub(crate) mod tunnel;

pub use stored::HttpUpstream;
