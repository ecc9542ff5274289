//! The HTTP wire: reads requests strictly, says what each would do, hands it to the engine, and forwards exactly
//! what the engine clears. It knows no policy, no store and no reviewer.

pub mod bodies;
pub mod classify;
pub mod config;
pub mod decode;
pub mod error;
pub mod facts;
pub mod frame;
pub mod head;
mod http1;
pub mod listen;
pub mod openapi;
pub mod path;
pub mod reply;
pub mod sentence;
mod session;
pub mod template;
pub mod text;
pub mod upstream;
mod websocket;
mod wire;

pub use listen::listen;
