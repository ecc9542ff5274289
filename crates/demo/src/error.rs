//! What can go wrong while the demo is set up or played: a door that cannot be reached, or says something else than
//! its contract.

use countersign_testkit::{passkey::PasskeyError, peer::PeerError};

/// The demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo cloud cannot listen on loopback")]
    Listen(#[source] std::io::Error),
    #[error("`{door}` cannot be reached")]
    Unreachable { door: String, source: reqwest::Error },
    #[error("`{door}` answered {status}: {said}")]
    Answer { door: String, status: u16, said: String },
    #[error("`{door}` answered without `{missing}`")]
    Contract { door: String, missing: String },
    #[error("the operator's door failed: {0}")]
    Operator(String),
    #[error("the demo's database cannot run")]
    Cluster(#[from] PeerError),
    #[error("the demo's database cannot be asked")]
    Database(#[source] std::io::Error),
    #[error("the software passkey failed")]
    Passkey(#[from] PasskeyError),
    #[error("approval `{approval}` got no further within {seconds} s; it is `{state}`")]
    Late { approval: String, state: String, seconds: u64 },
}
