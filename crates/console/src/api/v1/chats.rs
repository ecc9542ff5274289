//! The doors at which chats speak for their users, each in its own way and under its own signature. What they say is worth is
//! not said here.

use crate::{api::v1::said::not_signed, console::Console, error::Problem, inward::Spoken};
use axum::{
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use countersign_core::{ChannelName, RefusalCode, visible};
use countersign_engine::record;
use http::{HeaderMap, StatusCode, header};
use std::collections::BTreeMap;

/// The largest body that is read: a click comes with the message it was made on.
const LONGEST: usize = 512 << 10;

/// Take in what Slack sends for one of its users: a click, a form, a command. Signed by Slack with the app's signing
/// secret; no cookie, no `Origin`. A decision is acknowledged once it is durable; its user is answered in Slack.
#[utoipa::path(post, path = "/api/v1/channels/{id}/slack", tag = "channels", params(("id" = String, Path,
    description = "the channel's name"), ("x-slack-request-timestamp" = String, Header),
    ("x-slack-signature" = String, Header)),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "it was taken in", body = String, content_type = "text/plain"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn slack(
    State(console): State<Console>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let hint = "give the channel a `signing_secret_from`";
    spoken(&console, ("slack", &name, hint), &headers, &body).await
}

/// Take in what Microsoft Teams sends for one of its users: an activity of the Bot Framework, such as a click on a card. It
/// comes with a token that the Bot Framework signed for this bot; no cookie, no `Origin`. A click is answered with the card
/// as it stands then for whoever clicked.
#[utoipa::path(post, path = "/api/v1/channels/{id}/teams", tag = "channels", params(("id" = String, Path,
    description = "the channel's name"), ("authorization" = String, Header)),
    request_body(content = String, content_type = "application/json"), responses(
    (status = 200, description = "it was taken in; a click is answered", body = String, content_type = "application/json"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn teams(
    State(console): State<Console>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let hint = "set `decides = true` on the channel";
    spoken(&console, ("teams", &name, hint), &headers, &body).await
}

/// Take in that something happened to an issue in Jira: a webhook of Jira's administration, signed with its secret
/// (`sha256=` and HMAC-SHA256 of the body, in hexadecimal); no cookie, no `Origin`. It only says which issue to look at: who did what is
/// asked of Jira itself.
#[utoipa::path(post, path = "/api/v1/channels/{id}/jira", tag = "channels", params(("id" = String, Path,
    description = "the channel's name"), ("x-hub-signature" = String, Header)),
    request_body(content = String, content_type = "application/json"), responses(
    (status = 200, description = "it was taken in", body = String, content_type = "text/plain"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn jira(
    State(console): State<Console>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let hint = "give the channel a `signing_secret_from`, and set `decides = true`";
    spoken(&console, ("jira", &name, hint), &headers, &body).await
}

async fn spoken(
    console: &Console,
    (kind, name, hint): (&str, &str, &'static str),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Problem> {
    within(body, LONGEST)?;
    let found = named(console.doors(), name).filter(|(_, door)| door.kind() == kind);
    let (channel, door) = found.ok_or_else(|| {
        Problem::not_found(format!("no channel `{}` of kind `{kind}` speaks here", visible::name(name)))
            .hint(hint)
    })?;
    let spoken = door.receive(headers, body).await;
    if matches!(spoken, Spoken::Taken | Spoken::Text(_) | Spoken::Json(_)) {
        heard(console, channel);
    }
    Ok(match spoken {
        Spoken::Taken => StatusCode::OK.into_response(),
        Spoken::Text(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        Spoken::Json(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Spoken::NotSigned(why) => {
            record::count(console.gate(), RefusalCode::Unauthenticated, None).await?;
            return Err(not_signed(channel, why));
        }
        Spoken::Unreadable => {
            let detail = "this is signed, and cannot be read";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid", detail));
        }
        Spoken::Busy => {
            let detail = "this was not taken in: too much is under way, or it takes too long";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many", detail));
        }
    })
}

/// What came is from there: somebody sees that the way to here works.
pub(super) fn heard(console: &Console, channel: &ChannelName) {
    if let Some(channel) = console.gate().channels().named(channel) {
        channel.hears(console.gate().now());
    }
}

/// Whether a body is not larger than is read.
pub(super) fn within(body: &Bytes, longest: usize) -> Result<(), Problem> {
    if body.len() <= longest {
        return Ok(());
    }
    let detail = format!("the body is larger than {longest} bytes");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail))
}

/// What is known under a channel's name.
pub(super) fn named<'k, T>(
    known: &'k BTreeMap<ChannelName, T>,
    name: &str,
) -> Option<(&'k ChannelName, &'k T)> {
    known.get_key_value(&ChannelName::new(name).ok()?)
}
