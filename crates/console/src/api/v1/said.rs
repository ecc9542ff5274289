//! What comes in through a channel: its users decide, or ask for a link with which they can be bound. Each delivery is
//! signed as Standard Webhooks says, with a secret for this way alone, and counts once.

use crate::{
    api::v1::chats,
    console::Console,
    error::Problem,
    inward::{Delivery, NotSigned, Seen},
    model::{bindings::SaidAnswer, time},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use countersign_core::{ApprovalId, ChannelName, GateName, RefusalCode, visible};
use countersign_engine::{
    inward::{self, NotHeard, Said, Says},
    port::identity::{ChannelUser, NotOffered},
    record,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

/// The largest body that is read.
const LONGEST: usize = 64 << 10;

/// What a channel says for one of its users.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ChannelEvent {
    /// The user wants to be bound: the answer holds a link for them alone.
    Bind {
        /// The user, as the channel tells its users apart: 1 to 256 bytes, compared byte for byte.
        user: String,
        /// What the channel calls them. Shown before they are bound, never believed.
        user_name: Option<String>,
    },
    /// The user approves.
    Approve {
        user: String,
        #[schema(value_type = String)]
        approval: ApprovalId,
        /// `data.shown` of the message they decided on.
        shown: String,
        /// The gate that is meant; without it the first that waits for them and accepts it.
        #[schema(value_type = Option<String>)]
        gate: Option<GateName>,
    },
    /// The user rejects.
    Reject {
        user: String,
        #[schema(value_type = String)]
        approval: ApprovalId,
        shown: String,
        #[schema(value_type = Option<String>)]
        gate: Option<GateName>,
        /// Reaches the requester; 2000 characters at most.
        reason: String,
    },
}

/// Take in what a channel says for one of its users. Signed with Standard Webhooks' three headers by the channel's
/// `inward_secret_from`; no cookie, no `Origin`. Delivered again under the same `webhook-id` it is answered the same.
#[utoipa::path(post, path = "/api/v1/channels/{id}/events", tag = "channels", params(("id" = String, Path,
    description = "the channel's name"), ("webhook-id" = String, Header), ("webhook-timestamp" = String, Header),
    ("webhook-signature" = String, Header)), request_body = ChannelEvent, responses(
    (status = 200, description = "it was understood: `outcome` says whether it counts", body = SaidAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn said(
    State(console): State<Console>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    chats::within(&body, LONGEST)?;
    let (channel, signer) = chats::named(console.signers(), &name).ok_or_else(|| {
        Problem::not_found(format!("no channel `{}` speaks here", visible::name(&name)))
            .hint("give the channel an `inward_secret_from`")
    })?;
    let single = |name: &str| {
        let mut values = headers.get_all(name).iter();
        values
            .next()
            .filter(|_| values.next().is_none())
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let delivery = Delivery {
        id: single("webhook-id"),
        timestamp: single("webhook-timestamp"),
        signatures: single("webhook-signature"),
        body: &body,
    };
    let now = console.gate().now();
    if let Err(why) = signer.check(&delivery, now.unix_ms() / 1000) {
        record::count(console.gate(), RefusalCode::Unauthenticated, None).await?;
        return Err(not_signed(channel, why));
    }
    let event = serde_json::from_slice::<ChannelEvent>(&body);
    let event = event.map_err(|error| Problem::invalid(format!("the body is not as it must be: {error}")))?;
    chats::heard(&console, channel);
    let seen = console.deliveries().take(channel, (delivery.id, &body), now, || match &event {
        ChannelEvent::Bind { user, user_name } => {
            serde_json::to_vec(&offered(&console, channel, user, user_name.as_ref())).ok()
        }
        ChannelEvent::Approve { .. } | ChannelEvent::Reject { .. } => None,
    });
    match seen {
        Seen::Answered(answer) => Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response()),
        Seen::Otherwise => Err(reused()),
        Seen::Full => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many", "too much was delivered"))
        }
        Seen::Same => decided(&console, channel, delivery.id, event).await,
    }
}

async fn decided(
    console: &Console,
    channel: &ChannelName,
    delivery: &str,
    event: ChannelEvent,
) -> Result<Response, Problem> {
    let (user, approval, shown, gate, says, reason) = match event {
        ChannelEvent::Approve { user, approval, shown, gate } => {
            (user, approval, shown, gate, Says::Approve, None)
        }
        ChannelEvent::Reject { user, approval, shown, gate, reason } => {
            (user, approval, shown, gate, Says::Reject, Some(reason))
        }
        ChannelEvent::Bind { .. } => {
            return Err(Problem::internal("a link was asked for, and none was made"));
        }
    };
    let (channel, delivery) = (channel.clone(), delivery.to_owned());
    let said = Said { channel, user, delivery, approval, shown, says, gate, reason };
    match inward::answer(console.gate(), &said).await? {
        Ok(answer) => Ok(Json(SaidAnswer::from(answer)).into_response()),
        Err(NotHeard::Reused) => Err(reused()),
        Err(why @ NotHeard::Invalid(_)) => Err(Problem::invalid(why.to_string())),
        Err(NotHeard::TooMany { retry_after }) => {
            let detail = "too much was said at once";
            let mut response =
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail).into_response();
            let wait = HeaderValue::from(retry_after.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, wait);
            Ok(response)
        }
    }
}

/// A link for one user, in an answer that is for that user's eyes alone.
fn offered(console: &Console, channel: &ChannelName, user: &str, name: Option<&String>) -> SaidAnswer {
    let who = ChannelUser { channel: channel.clone(), user: user.to_owned(), name: name.cloned() };
    match console.identity().offer_binding(who) {
        Ok(offer) => {
            let message =
                "open this link, signed in, and confirm that what you say here is yours; it is good once";
            SaidAnswer::done("link", message, offer.link, Some(time(offer.expires)))
        }
        Err(why) => {
            let code = match why {
                NotOffered::Bound => "bound-already",
                NotOffered::Unusable(_) => "invalid",
                NotOffered::TooMany => "too-many",
            };
            SaidAnswer::refused(code, &why.to_string(), format!("{}/account", console.origin()))
        }
    }
}

pub(super) fn not_signed(channel: &ChannelName, why: NotSigned) -> Problem {
    let (status, code, detail, hint) = match why {
        NotSigned::Wrong => (
            StatusCode::UNAUTHORIZED,
            "not-signed",
            "no signature of this delivery holds",
            "sign it with the channel's own secret, as the guide says",
        ),
        NotSigned::Time => (
            StatusCode::UNAUTHORIZED,
            "not-signed",
            "this delivery was signed too long ago, or in the future",
            "sign it anew with the present time; five minutes are allowed for",
        ),
        NotSigned::NoSecret => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no-secret",
            "the channel's secret cannot be read",
            "see the gateway's log",
        ),
    };
    tracing::warn!(%channel, ?why, "a delivery was not believed");
    Problem::new(status, code, detail).hint(hint)
}

fn reused() -> Problem {
    let detail = "something else was delivered under this `webhook-id`";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "delivery-reused", detail)
        .hint("make a new id for each event")
}
