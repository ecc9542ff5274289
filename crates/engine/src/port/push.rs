//! Devices on which people are told: what their browsers handed over, in the words of RFC 8030 and RFC 8291.

use countersign_core::CredentialId;

/// A device of somebody's. Whoever has it can send to the device and nothing else; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    pub id: CredentialId,
    /// Where the browser's push service takes messages for it.
    pub endpoint: String,
    /// The browser's public key, a point on P-256, uncompressed, base64url.
    pub p256dh: String,
    /// The secret between the browser and whoever tells it, 16 bytes, base64url.
    pub auth: String,
    /// The gateway's public key it was made for, base64url: messages signed with another are not taken.
    pub made_for: String,
}

/// How a device fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fared {
    /// Its push service has the message.
    Told,
    /// It was not told, in our own words.
    Failed(String),
    /// Its push service says that there is no such device any more.
    Gone,
}

impl std::fmt::Debug for Subscription {
    /// Neither where it is nor its keys.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}
