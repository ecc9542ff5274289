//! What every wire (policy enforcement point) stands on, whatever it speaks: how its section of the configuration is
//! checked, where its secrets are, TLS on both sides, and listeners that are bounded and stop in order. Nothing here
//! looks at what is said on a connection.

mod clients;
mod credential;
mod fault;
mod keepalive;
mod listen;
mod origin;
mod secret;
pub mod tls;
mod units;

pub use clients::ClientsSection;
pub use credential::{Credential, CredentialSection, bearer};
pub use fault::{Fault, kept, named};
pub use keepalive::keep_alive;
pub use listen::{BoundListener, Doors, ListenError, Serving, sharing};
pub use origin::Origin;
pub use secret::{NOT_A_REFERENCE, SecretError, SecretRef, Stamp};
pub use units::{NotASpan, Size, Span};
