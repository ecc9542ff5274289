//! Devices on which people are told, as their owners see them.

use super::time;
use crate::console::Console;
use countersign_core::PersonId;
use countersign_identity::Subscription;
use serde::Serialize;
use utoipa::ToSchema;

/// A device.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SubscriptionItem {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The push service it is told through, as scheme and host.
    pub(crate) service: String,
    pub(crate) created_at: String,
    /// When its push service last took something for it.
    pub(crate) told_at: Option<String>,
    /// Why it was not told the last time, where it was not.
    pub(crate) last_error: Option<String>,
    pub(crate) failed_at: Option<String>,
}

impl From<&Subscription> for SubscriptionItem {
    fn from(device: &Subscription) -> Self {
        Self {
            id: device.id.to_string(),
            name: device.name.clone(),
            service: device.service().to_owned(),
            created_at: time(device.created_at),
            told_at: device.told_at.map(time),
            last_error: device.trouble.as_ref().map(|trouble| trouble.why.clone()),
            failed_at: device.trouble.as_ref().map(|trouble| time(trouble.at)),
        }
    }
}

impl Console {
    pub(crate) fn subscription_items(&self, person: PersonId) -> Vec<SubscriptionItem> {
        self.directory().subscriptions(person).iter().map(SubscriptionItem::from).collect()
    }
}
