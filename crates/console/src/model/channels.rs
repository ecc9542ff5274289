//! Channels and how they have fared, and what one still has to be told of an approval.

use super::time;
use crate::{console::Console, error::Problem};
use countersign_core::ApprovalId;
use countersign_engine::outbox::{self, Channel, Hears, Outgoing, Shelf};
use serde::Serialize;
use utoipa::ToSchema;

/// Numbers above it are told as this one.
const COUNTED: usize = 1_000;

/// A channel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChannelItem {
    pub(crate) name: String,
    /// `webhook`.
    pub(crate) kind: String,
    /// Scheme and host of where it goes.
    pub(crate) place: String,
    /// `named` by a gate with `@notify`, or `everything`.
    pub(crate) hears: String,
    /// Approvals of which something waits to be told; 1000 stands for that many or more.
    pub(crate) waiting: usize,
    /// Approvals of which something is not tried any more; 1000 stands for that many or more.
    pub(crate) given_up: usize,
    /// Since the gateway started.
    pub(crate) last_told: Option<String>,
    /// Since when it does not work.
    pub(crate) failing_since: Option<String>,
    /// How often it failed since it last worked.
    pub(crate) failures: u32,
    pub(crate) last_error: Option<String>,
    /// Nothing is tried before.
    pub(crate) next_try: Option<String>,
    /// Since when the connection stands on which its users are heard, where it keeps one.
    pub(crate) listening_since: Option<String>,
    /// When something last came from its users whose signature held, since the gateway started.
    pub(crate) last_heard: Option<String>,
    /// Why somebody beside the gateway may be handed what its users do there.
    pub(crate) warning: Option<String>,
    /// Since when what people decide there cannot be read.
    pub(crate) unread_since: Option<String>,
    /// Why not.
    pub(crate) unread_error: Option<String>,
}

/// One approval on one channel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OutgoingItem {
    pub(crate) approval: String,
    pub(crate) channel: String,
    /// Number of the newest news there is.
    pub(crate) wanted: u32,
    /// Number of the newest that was told or given up.
    pub(crate) told: u32,
    pub(crate) told_at: Option<String>,
    /// What waits, oldest first, as types of the ledger's entries.
    pub(crate) waiting: Vec<String>,
    /// What is not tried any more, oldest first.
    pub(crate) given_up: Vec<String>,
    /// How often the first of what waits was tried in vain.
    pub(crate) tries: u32,
    pub(crate) next_try: Option<String>,
    /// What waits can wait, or came with much that is like it: it is told then, if nothing more urgent comes.
    pub(crate) put_off_until: Option<String>,
    /// It was told in one message with others.
    pub(crate) with_others: bool,
    pub(crate) last_error: Option<String>,
    pub(crate) failed_at: Option<String>,
}

impl OutgoingItem {
    pub(crate) fn of(outgoing: Outgoing) -> Self {
        let put_off = outgoing.put_off_until().map(time);
        let failed = outgoing.last_error;
        Self {
            approval: outgoing.approval.to_string(),
            channel: outgoing.channel.to_string(),
            wanted: outgoing.wanted,
            told: outgoing.told,
            told_at: outgoing.told_at.map(time),
            waiting: outgoing.waiting.into_iter().map(|news| news.kind).collect(),
            given_up: outgoing.given_up.into_iter().map(|given_up| given_up.news.kind).collect(),
            tries: outgoing.tries,
            next_try: outgoing.next_try.map(time),
            put_off_until: put_off,
            with_others: !outgoing.together.is_empty(),
            failed_at: failed.as_ref().map(|missed| time(missed.at)),
            last_error: failed.map(|missed| missed.why),
        }
    }
}

impl Console {
    /// Every channel.
    pub(crate) async fn channel_items(&self) -> Result<Vec<ChannelItem>, Problem> {
        let mut items = Vec::new();
        for channel in self.gate().channels().all() {
            items.push(self.channel_item(channel).await?);
        }
        Ok(items)
    }

    async fn channel_item(&self, channel: &Channel) -> Result<ChannelItem, Problem> {
        let (spec, standing, unread) = (&channel.spec, channel.standing(), channel.unread());
        let mut counts = [0; 3];
        for (count, shelf) in counts.iter_mut().zip([Shelf::Due, Shelf::Later, Shelf::GivenUp]) {
            *count = outbox::count(self.gate(), &spec.name, shelf, COUNTED).await?;
        }
        let [due, later, given_up] = counts;
        Ok(ChannelItem {
            name: spec.name.to_string(),
            kind: spec.kind.into(),
            place: spec.place.clone(),
            hears: match spec.hears {
                Hears::Named => "named".into(),
                Hears::Everything => "everything".into(),
            },
            waiting: (due + later).min(COUNTED),
            given_up,
            last_told: standing.last_told.map(time),
            failing_since: standing.failing_since.map(time),
            failures: standing.failures,
            last_error: standing.last_error,
            next_try: standing.next_try.map(time),
            listening_since: channel.listening().map(time),
            last_heard: channel.heard().map(time),
            warning: channel.shared(),
            unread_since: unread.as_ref().map(|unread| time(unread.since)),
            unread_error: unread.map(|unread| unread.why),
        })
    }

    /// What a channel has on one shelf, newest approval first.
    pub(crate) async fn outgoing_items(
        &self,
        channel: &Channel,
        shelf: Shelf,
        before: Option<ApprovalId>,
        limit: usize,
    ) -> Result<Vec<OutgoingItem>, Problem> {
        let found = outbox::page(self.gate(), &channel.spec.name, shelf, before, limit).await?;
        Ok(found.into_iter().map(OutgoingItem::of).collect())
    }
}
