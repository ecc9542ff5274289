//! What a client says its statements are for: the gateway's own setting `countersign.justification`, which never reaches
//! the server. It is claimed text: shown as such, never believed, and no part of what a statement means.

use super::{Session, act::Wish, relay::Ends};
use crate::{
    error::Ended,
    reply::{Said, message, put_text, ready, sqlstate},
    understand::{SessionEffect, SettingChange, SettingScope, Understood},
};
use bytes::BytesMut;
use countersign_core::RefusalCode;

/// The setting, and what all of the gateway's own begin with.
pub(crate) const NAME: &str = "countersign.justification";
const OWN: &str = "countersign.";
/// Longer ones are refused, not cut off.
pub(crate) const LONGEST: usize = 2_000;

/// What a text does to the gateway's own settings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own<'u> {
    /// Nothing.
    No,
    /// The whole text is this one change; `None`: back to what the session began with.
    Justification(Option<&'u str>),
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
    if simple && plain && name == NAME { Own::Justification(value.as_deref()) } else { Own::Refused }
}

impl Session {
    /// Answers as the server does, which would also sum up what was flushed before.
    async fn set_justification(&mut self, value: Option<&str>) -> Result<(), Ended> {
        if let Some(said) = self.may_not_go_on(Ends::Ready).await? {
            return self.refuse(said, Ends::Ready).await;
        }
        self.state.justify(value);
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

    /// Takes over a changed justification, or refuses what is not offered; `None` where the text is the server's.
    pub(super) async fn own_setting(
        &mut self,
        wish: &Wish,
        understood: &Understood,
    ) -> Option<Result<(), Ended>> {
        let value = match own(understood, wish.is_simple()) {
            Own::No => return None,
            Own::Justification(value) => value,
            Own::Refused => {
                if let Err(error) = self.count(RefusalCode::Malformed).await {
                    return Some(Err(error));
                }
                let why = format!("`{NAME}` is the gateway's own setting, and can only be set by itself");
                let hint = format!("send `SET {NAME} = '…'` as a simple query, or give it at start-up");
                return Some(self.refuse(Said::new(sqlstate::NOT_OFFERED, why, hint), wish.ends()).await);
            }
        };
        if value.is_some_and(|value| value.len() > LONGEST) {
            let why = format!("the justification is longer than {LONGEST} bytes");
            return Some(
                self.refuse(Said::new(sqlstate::TOO_LARGE, why, "say it shorter"), wish.ends()).await,
            );
        }
        Some(self.set_justification(value).await)
    }
}
