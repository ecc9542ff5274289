//! Break-glass, after the act: what waits for its review, and the review. Breaking it is a vote: see [`super::votes`].

use super::approvals::reason;
use crate::{
    body::{Id, Input},
    caller::Caller,
    console::Console,
    error::Problem,
    model::{
        approval::{self, ApprovalFull},
        glass::OpenReview,
    },
};
use axum::{Json, extract::State};
use countersign_core::{ApprovalId, PersonId};
use countersign_engine::glass::{self, Review};
use countersign_ledger::event::Judged;
use serde::Deserialize;
use utoipa::ToSchema;

/// What somebody says of another's break-glass.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SayOfGlass {
    /// Who broke it.
    #[schema(value_type = String)]
    broken_by: PersonId,
    /// `justified` or `not-justified`.
    #[schema(value_type = String)]
    found: Judged,
    note: String,
}

/// Every break-glass that nobody else has reviewed yet, newest first.
#[utoipa::path(get, path = "/api/v1/reviews", tag = "approvals", responses(
    (status = 200, body = [OpenReview]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn open(
    State(console): State<Console>,
    _caller: Caller,
) -> Result<Json<Vec<OpenReview>>, Problem> {
    console.open_reviews().await.map(Json)
}

/// Review somebody else's break-glass: until one does, they break no other.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/review", tag = "approvals", params(("id" = String, Path)),
    request_body = SayOfGlass, responses(
    (status = 200, body = ApprovalFull), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn review(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
    Input(asked): Input<SayOfGlass>,
) -> Result<Json<ApprovalFull>, Problem> {
    caller.not_an_auditor()?;
    let by = caller.signed_in()?.person;
    let note = reason(&asked.note)?.to_owned();
    approval::load(&console, id).await?;
    let SayOfGlass { broken_by, found, .. } = asked;
    glass::review(console.gate(), Review { approval: id, broken_by, by, found, note }).await??;
    let read = approval::load(&console, id).await?;
    approval::full(&console, &read, &caller).await.map(Json)
}
