//! The MCP wire, Streamable HTTP of the protocol versions 2025-03-26 to 2025-11-25: reads JSON-RPC strictly, makes an
//! action of every message that goes to a server, hands it to the engine, and forwards exactly what the engine clears.
//! It knows no policy, no store and no reviewer.

mod approvals;
mod call;
pub mod classify;
pub mod config;
mod edge;
pub mod error;
pub mod frame;
mod listen;
mod members;
pub mod method;
mod reply;
mod session;
mod stream;
mod tools;
pub mod upstream;

pub use classify::OPERATIONS;
pub use listen::listen;
