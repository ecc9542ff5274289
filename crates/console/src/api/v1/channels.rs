//! Channels: how they fare, what they still have to be told, and telling them once more.

use crate::{
    body::{Input, Params},
    caller::Caller,
    console::Console,
    error::Problem,
    model::{
        Page,
        channels::{ChannelItem, OutgoingItem},
    },
};
use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{ApprovalId, ChannelName, visible};
use countersign_engine::outbox::{self, Channel, Shelf};
use countersign_ledger::event::Actor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const USUAL: usize = 50;
const MOST: usize = 200;
/// Approvals that one call has a channel told of once more; whoever has more calls again.
const REPLAYED: usize = 1_000;

/// What to list of a channel.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// `due`, `later` (it failed and is tried again), `given-up` or `all`.
    state: Option<String>,
    /// The last approval of the page before.
    before: Option<String>,
    limit: Option<usize>,
}

/// What to tell once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    /// One approval; without it all that was given up, a thousand at most.
    approval: Option<String>,
}

/// What is told once more.
#[derive(Serialize, ToSchema)]
pub(crate) struct Replayed {
    /// How many approvals it is about.
    replayed: usize,
}

/// Every channel.
#[utoipa::path(get, path = "/api/v1/channels", tag = "channels", responses(
    (status = 200, body = [ChannelItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    _caller: Caller,
) -> Result<Json<Vec<ChannelItem>>, Problem> {
    console.channel_items().await.map(Json)
}

/// What a channel was told of approvals, and what not yet.
#[utoipa::path(get, path = "/api/v1/channels/{id}/outgoing", tag = "channels",
    params(("id" = String, Path), ("state" = Option<String>, Query, description = "`due`, `later` (it failed and is tried \
        again), `given-up` or `all`"), ("before" = Option<String>, Query, description = "The last approval of the page \
        before"), ("limit" = Option<usize>, Query)), responses(
    (status = 200, body = Page<OutgoingItem>), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn outgoing(
    State(console): State<Console>,
    _caller: Caller,
    Path(name): Path<String>,
    Params(which): Params<Which>,
) -> Result<Json<Page<OutgoingItem>>, Problem> {
    let shelf = match which.state.as_deref() {
        None | Some("all") => Shelf::All,
        Some("due") => Shelf::Due,
        Some("later") => Shelf::Later,
        Some("given-up") => Shelf::GivenUp,
        Some(_) => return Err(Problem::invalid("`state` must be `due`, `later`, `given-up` or `all`")),
    };
    let limit = which.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` must be 1 to {MOST}")));
    }
    let before = which.before.map(|id| id.parse::<ApprovalId>()).transpose();
    let before = before.map_err(|error| Problem::invalid(error.to_string()))?;
    let channel = channel(&console, &name)?;
    let mut items = console.outgoing_items(channel, shelf, before, limit + 1).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|item| item.approval.clone());
    Ok(Json(Page { items, next }))
}

/// Tell a channel once more what was given up.
#[utoipa::path(post, path = "/api/v1/channels/{id}/replay", tag = "channels", params(("id" = String, Path)),
    request_body = Replay, responses(
    (status = 200, body = Replayed), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn replay(
    State(console): State<Console>,
    caller: Caller,
    Path(name): Path<String>,
    Input(asked): Input<Replay>,
) -> Result<Json<Replayed>, Problem> {
    caller.operates()?;
    let by = caller.person().map_or(Actor::Operator, |id| Actor::Person { id });
    let name = &channel(&console, &name)?.spec.name;
    let approvals = if let Some(id) = asked.approval {
        vec![id.parse().map_err(|error| Problem::invalid(format!("`approval`: {error}")))?]
    } else {
        let given_up = outbox::page(console.gate(), name, Shelf::GivenUp, None, REPLAYED).await?;
        given_up.into_iter().map(|outgoing| outgoing.approval).collect()
    };
    let mut replayed = 0;
    for approval in approvals {
        replayed += usize::from(outbox::replay(console.gate(), approval, name, &by).await?.is_some());
    }
    Ok(Json(Replayed { replayed }))
}

fn channel<'c>(console: &'c Console, name: &str) -> Result<&'c Channel, Problem> {
    let known = ChannelName::new(name).ok();
    let known = known.and_then(|name| console.gate().channels().named(&name));
    known.ok_or_else(|| Problem::not_found(format!("there is no channel `{}`", visible::name(name))))
}
