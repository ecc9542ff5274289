//! Voting: a ballot is handed out, filled in and cast. A vote is worth a passkey's signature only where one was
//! verified over this very statement; otherwise it is worth the session.

use super::approvals::REASON_LIMIT;
use crate::{
    body::{Id, Input},
    caller::Caller,
    console::{Console, actor},
    error::Problem,
    model::approval::{self, ApprovalFull},
};
use axum::{Json, extract::State};
use countersign_core::{
    ApprovalId, Assurance,
    statement::{Statement, Verdict},
};
use countersign_engine::vote::{self, Cast};
use countersign_identity::IdentityError;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskForBallot {
    /// `approve` or `reject`.
    #[schema(value_type = String)]
    decision: Verdict,
}

/// What the person is about to sign.
#[derive(Serialize, ToSchema)]
pub(crate) struct BallotItem {
    /// Everything the vote is bound to.
    #[schema(value_type = Object)]
    statement: Statement,
    /// The least this vote must be worth: `passkey`, `session` or `chat`.
    #[schema(value_type = String)]
    wanted: Assurance,
    /// Options for `navigator.credentials.get()`; `null` when the voter has no passkey.
    #[serde(rename = "publicKey")]
    #[schema(rename = "publicKey", value_type = Option<Object>)]
    public_key: Option<Value>,
}

/// A filled-in ballot.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CastVote {
    /// As it was handed out.
    #[schema(value_type = Object)]
    statement: Statement,
    /// What `navigator.credentials.get()` answered, by `toJSON()`; without it the vote is worth the session.
    #[schema(value_type = Option<Object>)]
    assertion: Option<Value>,
    /// Needed for a rejection: it reaches the requester.
    reason: Option<String>,
}

/// Ask for a ballot.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/ballot", tag = "approvals", params(("id" = String, Path)),
    request_body = AskForBallot, responses(
    (status = 200, body = BallotItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn ballot(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
    Input(asked): Input<AskForBallot>,
) -> Result<Json<BallotItem>, Problem> {
    approval::load(&console, id).await?;
    let voter = caller.voter(&console, id).await?;
    let ballot = vote::prepare(console.gate(), voter, id, asked.decision).await??;
    let public_key = match console.directory().begin_vote(&ballot.statement) {
        Ok(options) => Some(options),
        Err(IdentityError::UnknownPasskey | IdentityError::NoRelyingParty) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Json(BallotItem { statement: ballot.statement, wanted: ballot.wanted, public_key }))
}

/// Cast a vote.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/votes", tag = "approvals", params(("id" = String, Path)),
    request_body = CastVote, responses(
    (status = 200, body = ApprovalFull), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn cast(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
    Input(asked): Input<CastVote>,
) -> Result<Json<ApprovalFull>, Problem> {
    approval::load(&console, id).await?;
    let voter = caller.voter(&console, id).await?;
    let CastVote { statement, assertion, reason } = asked;
    if statement.voter != voter || statement.approval != id {
        let why = "a ballot handed out to somebody else, or for something else, was presented";
        vote::attempted(console.gate(), id, actor(caller.author), why).await?;
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "ballot",
            "this ballot is not yours, or not for this approval",
        ));
    }
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_LIMIT) {
        return Err(Problem::invalid(format!("`reason` must be at most {REASON_LIMIT} characters long")));
    }
    let (assurance, assertion) = match assertion {
        None => (Assurance::Session, None),
        Some(answer) => {
            let verified = console.directory().verify_vote(&statement, answer.to_string().as_bytes()).await;
            match verified {
                Ok(assertion) => (Assurance::Passkey, Some(assertion)),
                Err(error) => {
                    vote::attempted(console.gate(), id, actor(caller.author), &error.to_string()).await?;
                    return Err(not_verified(error));
                }
            }
        }
    };
    let session = caller.signed_in()?;
    // Its provider may have ended it since the request came in: what it proved is not so any more.
    if !console.directory().is_open(session.id) {
        return Err(Problem::not_signed_in());
    }
    let sign_in = session.sign_in.clone();
    let cast = Cast { statement, assurance, assertion, reason, sign_in };
    vote::cast(console.gate(), cast).await??;
    let read = approval::load(&console, id).await?;
    approval::full(&console, &read, &caller).await.map(Json)
}

/// The person is signed in; it is the passkey's answer that does not count.
fn not_verified(error: IdentityError) -> Problem {
    match Problem::from(error) {
        problem if problem.status() == StatusCode::UNAUTHORIZED => problem.with_status(StatusCode::CONFLICT),
        problem => problem,
    }
}
