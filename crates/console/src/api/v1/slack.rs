//! The door at which Slack speaks: clicks, forms and commands of its users, signed by Slack. What they are worth is not
//! said here.

use crate::{api::v1::said::not_signed, console::Console, error::Problem, inward::Spoken};
use axum::{
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use countersign_core::{ChannelName, RefusalCode, visible};
use countersign_engine::record;
use http::{HeaderMap, StatusCode, header};

/// The largest body that is read: a click comes with the message it was made on.
const LONGEST: usize = 512 << 10;

/// Take in what Slack sends for one of its users: a click, a form, a command. Signed by Slack with the app's signing
/// secret; no cookie, no `Origin`. Acknowledged at once; its user is answered in Slack.
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
    if body.len() > LONGEST {
        let detail = format!("the body is larger than {LONGEST} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
    }
    let known = ChannelName::new(name.as_str()).ok();
    let known = known.and_then(|name| console.doors().get_key_value(&name));
    let (channel, door) = known.ok_or_else(|| {
        Problem::not_found(format!("no channel `{}` is Slack's", visible::name(&name)))
            .hint("give the channel a `signing_secret_from`")
    })?;
    Ok(match door.receive(&headers, &body) {
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
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many", "too much is under way"));
        }
    })
}
