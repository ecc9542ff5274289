//! Everything `countersign demo` shows: a small cloud to act on, a shop's database
//! where a server for it is installed, the people and policies around it, and the story of
//! a night in which an agent works, is held, countersigned and refused.
//!
//! It speaks HTTP to the same doors as everybody else. It never sees the engine, the store or the ledger.

mod agent;
pub mod banner;
pub mod cloud;
mod error;
pub mod http;
pub mod person;
pub mod policy;
pub mod report;
pub mod setup;
pub mod shop;
pub mod story;
pub mod tools;

pub use banner::Banner;
pub use cloud::Cloud;
pub use error::DemoError;
pub use report::{Report, Step};
pub use setup::{Operator, Prepared};
pub use shop::Shop;
pub use story::{Counter, Doors};
