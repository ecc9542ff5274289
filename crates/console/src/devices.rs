//! Telling devices: what the console asks of whoever does it.

use async_trait::async_trait;
use countersign_engine::port::push::Subscription;
use std::fmt;

/// The way to people's devices.
#[async_trait]
pub trait Devices: Send + Sync + fmt::Debug {
    /// The gateway's public key, with which browsers make subscriptions: base64url.
    fn key(&self) -> &str;

    /// Whether what a browser handed over can be used; if not, why, in words that do not repeat it.
    fn check(&self, endpoint: &str, p256dh: &str, auth: &str) -> Result<(), String>;

    /// Sends a test to one device.
    async fn test(&self, device: &Subscription) -> Result<(), NotTold>;
}

/// Why a device was not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTold {
    TooSoon,
    /// In our own words.
    Failed(String),
}
