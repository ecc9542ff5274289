//! Channels: how each fares, and what it could not be told.

use super::{
    draw,
    frame::{Fault, Frame, Viewer, draw_page},
};
use crate::{
    console::Console,
    model::{
        channels::{ChannelItem, OutgoingItem},
        told::RouteItem,
    },
};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_engine::outbox::Shelf;

/// Approvals shown of each channel; the API lists the rest.
const SHOWN: usize = 20;

#[derive(Template)]
#[template(path = "channels.html")]
struct ChannelsPage {
    frame: Frame,
    channels: Vec<Kept>,
    routes: Vec<RouteItem>,
    may_replay: bool,
}

/// A channel with what it could not be told.
struct Kept {
    channel: ChannelItem,
    given_up: Vec<OutgoingItem>,
    /// What failed and is tried again, or was put off.
    later: Vec<OutgoingItem>,
}

pub(super) async fn page(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let mut channels = Vec::new();
    for (channel, item) in console.gate().channels().all().zip(console.channel_items().await?) {
        channels.push(Kept {
            channel: item,
            given_up: console.outgoing_items(channel, Shelf::GivenUp, None, SHOWN).await?,
            later: console.outgoing_items(channel, Shelf::Later, None, SHOWN).await?,
        });
    }
    draw_page(&ChannelsPage {
        frame: Frame::of(&console, &viewer, "channels").await?,
        channels,
        routes: console.routes(),
        may_replay: viewer.caller.operates().is_ok(),
    })
}
