//! The MCP wire, Streamable HTTP and standard input and output, of the protocol versions 2025-03-26 to 2026-07-28: reads JSON-RPC strictly, makes an
//! action of every message that goes to a server, hands it to the engine, and forwards exactly what the engine clears.
//! It knows no policy, no store and no reviewer.

mod approvals;
mod asks;
mod call;
pub mod classify;
pub mod config;
mod edge;
mod era;
pub mod error;
mod feed;
pub mod frame;
mod legs;
mod listen;
mod members;
mod message;
pub mod method;
mod mirror;
mod reply;
mod rounds;
mod session;
pub mod shim;
mod stream;
mod tasks;
mod text;
pub mod tools;
pub mod upstream;

pub use classify::OPERATIONS;
pub use listen::listen;
