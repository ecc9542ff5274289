//! Using up the link that a channel sent to one person about one approval.

use crate::{
    body::{Id, Input},
    caller::Caller,
    console::Console,
    error::Problem,
};
use axum::extract::State;
use countersign_core::ApprovalId;
use countersign_engine::summons::{self, NotOpened};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

/// What the link holds behind its `#`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Summons {
    code: String,
}

/// Come by a link that was sent to oneself about this approval. It is used up, with those sent before it.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/summons", tag = "approvals", params(("id" = String, Path)),
    request_body = Summons, responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn open(
    State(console): State<Console>,
    caller: Caller,
    Id(approval): Id<ApprovalId>,
    Input(asked): Input<Summons>,
) -> Result<StatusCode, Problem> {
    let person = caller.signed_in()?.person;
    match summons::open(console.gate(), approval, person, &asked.code).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(NotOpened::NotYours) => {
            Err(Problem::new(StatusCode::FORBIDDEN, "not-yours", NotOpened::NotYours.to_string())
                .hint("sign in as the person it was sent to"))
        }
        Err(NotOpened::Used) => {
            Err(Problem::new(StatusCode::GONE, "used", NotOpened::Used.to_string()).hint("see the approval"))
        }
    }
}
