//! What a client says of its statements: what they are for, as the gateway's own setting `countersign.justification`, and the ticket in
//! which they were approved beforehand, as `countersign.ticket`. Neither ever reaches the server. Both are claimed texts: shown
//! as such, never believed, and no part of what a statement means.

use super::{Session, act::Wish, relay::Ends};
use crate::{
    error::Ended,
    reply::{Said, message, put_text, ready, sqlstate},
    understand::{SessionEffect, SettingChange, SettingScope, Understood},
};
use bytes::BytesMut;
use countersign_core::RefusalCode;

/// What all of the gateway's own settings begin with.
const OWN: &str = "countersign.";

/// A setting of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Justification,
    Ticket,
}

impl Setting {
    pub(crate) const ALL: [Self; 2] = [Self::Justification, Self::Ticket];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Justification => "countersign.justification",
            Self::Ticket => "countersign.ticket",
        }
    }

    /// Longer ones are refused, not cut off.
    pub(crate) const fn longest(self) -> usize {
        match self {
            Self::Justification => 2_000,
            Self::Ticket => 100,
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }
}

/// What a text does to the gateway's own settings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own<'u> {
    /// Nothing.
    No,
    /// The whole text is this one change; `None`: back to what the session began with.
    Claim(Setting, Option<&'u str>),
    /// Something that is not offered.
    Refused,
}

/// Looks for the gateway's own settings in what was understood.
pub(super) fn own(understood: &Understood, simple: bool) -> Own<'_> {
    let mut changes = understood.session_effects().filter_map(|effect| {
        let SessionEffect::Set(change) = effect else { return None };
        change.name.starts_with(OWN).then_some(change)
    });
    let Some(SettingChange { name, value, scope, .. }) = changes.next() else { return Own::No };
    let [statement] = &understood.statements[..] else { return Own::Refused };
    let plain = matches!(statement.verb, "SET" | "RESET") && *scope == SettingScope::Session;
    match Setting::named(name) {
        Some(setting) if simple && plain => Own::Claim(setting, value.as_deref()),
        Some(_) | None => Own::Refused,
    }
}

impl Session {
    /// Answers as the server does, which would also sum up what was flushed before.
    async fn set_own(&mut self, setting: Setting, value: Option<&str>) -> Result<(), Ended> {
        if let Some(said) = self.may_not_go_on(Ends::Ready).await? {
            return self.refuse(said, Ends::Ready).await;
        }
        self.state.claim(setting, value);
        let mut out = BytesMut::new();
        let tag = if value.is_some() { "SET" } else { "RESET" };
        message(&mut out, b'C', |out| put_text(out, tag));
        if self.unsynced {
            self.client.send(&out).await.map_err(|_| Ended::ClientGone)?;
            return self.sum_up().await;
        }
        ready(&mut out, self.state.status);
        self.client.send(&out).await.map_err(|_| Ended::ClientGone)
    }

    /// Takes over a changed setting, or refuses what is not offered; `None` where the text is the server's.
    pub(super) async fn own_setting(
        &mut self,
        wish: &Wish,
        understood: &Understood,
    ) -> Option<Result<(), Ended>> {
        let (setting, value) = match own(understood, wish.is_simple()) {
            Own::No => return None,
            Own::Claim(setting, value) => (setting, value),
            Own::Refused => {
                if let Err(error) = self.count(RefusalCode::Malformed).await {
                    return Some(Err(error));
                }
                let [justification, ticket] = Setting::ALL.map(Setting::name);
                let why = format!(
                    "`{justification}` and `{ticket}` are the gateway's own settings, and can only be set by themselves"
                );
                let hint =
                    format!("send `SET {justification} = '…'` as a simple query, or give it at start-up");
                return Some(self.refuse(Said::new(sqlstate::NOT_OFFERED, why, hint), wish.ends()).await);
            }
        };
        if value.is_some_and(|value| value.len() > setting.longest()) {
            let why = format!("`{}` is longer than {} bytes", setting.name(), setting.longest());
            return Some(
                self.refuse(Said::new(sqlstate::TOO_LARGE, why, "say it shorter"), wish.ends()).await,
            );
        }
        Some(self.set_own(setting, value).await)
    }
}
