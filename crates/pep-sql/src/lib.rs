//! The SQL wire: reads PostgreSQL's protocol strictly, says what each statement would do, hands it to the engine, and
//! forwards exactly what the engine clears. It knows no policy, no store and no reviewer.

mod beforehand;
mod catalogs;
pub mod config;
pub mod error;
pub mod frame;
pub mod listen;
pub mod message;
pub mod reply;
pub mod results;
mod scouting;
mod scram;
mod session;
pub mod startup;
pub mod text;
pub mod understand;
pub mod upstream;

pub use listen::listen;
