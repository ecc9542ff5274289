//! Who is told of an approval, how far, and who is called next while nobody decides.

use super::{channels::OutgoingItem, time};
use crate::{console::Console, error::Problem};
use countersign_core::ChannelName;
use countersign_engine::{
    hold::Hold,
    outbox::{self, Call, Route, span_in_words},
};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// What is told of an approval, on which channels.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToldItem {
    pub(crate) channels: Vec<OutgoingItem>,
    /// `null`: nobody is called again.
    pub(crate) next_call: Option<CallItem>,
}

/// Calling people while nobody decides.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CallItem {
    pub(crate) at: String,
    /// Channels that are told from then on as well; none: those who are told are told once more.
    pub(crate) channels: Vec<String>,
}

/// A route of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct RouteItem {
    pub(crate) name: String,
    /// What it asks of an approval; nothing: it is for every one.
    pub(crate) asks: Vec<String>,
    pub(crate) channels: Vec<String>,
    /// After how long, and which channels.
    pub(crate) steps: Vec<(String, Vec<String>)>,
    pub(crate) remind: Option<String>,
    /// How soon it is told, where the route says so.
    pub(crate) urgency: Option<String>,
}

impl RouteItem {
    fn of(route: &Route) -> Self {
        let names = |names: &BTreeSet<ChannelName>| names.iter().map(ToString::to_string).collect();
        Self {
            name: route.name.clone(),
            asks: route.when.in_words(),
            channels: names(&route.channels),
            steps: route
                .escalate
                .iter()
                .map(|(after, channels)| (span_in_words(*after), names(channels)))
                .collect(),
            remind: route.remind.map(span_in_words),
            urgency: route.urgency.in_words(),
        }
    }
}

impl Console {
    pub(crate) async fn told(&self, hold: &Hold) -> Result<ToldItem, Problem> {
        let channels = outbox::of_approval(self.gate(), hold).await?;
        let next_call = hold.next_call().map(|(at, call)| CallItem {
            at: time(at),
            channels: match call {
                Call::Remind { .. } => Vec::new(),
                Call::Escalate { channels, .. } => channels.iter().map(ToString::to_string).collect(),
            },
        });
        Ok(ToldItem { channels: channels.into_iter().map(OutgoingItem::of).collect(), next_call })
    }

    pub(crate) fn routes(&self) -> Vec<RouteItem> {
        self.gate().channels().routes().iter().map(RouteItem::of).collect()
    }
}
