//! Software peers for tests and the demo: what stands on the other side of the wire.

pub mod passkey;
