//! What waits, what waited, and taking it back.

#![expect(unused_qualifications, reason = "written by the macro that describes query parameters")]

use crate::{
    body::{Id, Input, Params},
    caller::Caller,
    console::{Console, actor},
    error::{Problem, refused},
    model::{
        Page,
        approval::{self, ApprovalFull, ApprovalItem},
    },
};
use axum::{Json, extract::State};
use countersign_core::{ApprovalId, approval::Taker};
use countersign_engine::{
    read::{self, HoldFilter},
    settle, vote,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Which approvals. Every filter given must match.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// A state, such as `pending`.
    pub(crate) status: Option<String>,
    /// `yes` or `no`.
    pub(crate) open: Option<String>,
    pub(crate) target: Option<String>,
    /// The id of an agent or a person.
    pub(crate) principal: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) class: Option<String>,
    /// 1 to 200; 50 unless said.
    pub(crate) limit: Option<usize>,
    /// The `next` of the page before.
    pub(crate) before: Option<String>,
}

/// Why it is taken back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    reason: String,
}

const USUAL: usize = 50;
const MOST: usize = 200;
/// The longest reason that is taken.
pub(crate) const REASON_LIMIT: usize = 2_000;

/// Approvals, newest first.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "approvals", params(Which), responses(
    (status = 200, body = Page<ApprovalItem>), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    caller: Caller,
    Params(which): Params<Which>,
) -> Result<Json<Page<ApprovalItem>>, Problem> {
    page(&console, &caller, which).await.map(Json)
}

/// One approval, whole.
#[utoipa::path(get, path = "/api/v1/approvals/{id}", tag = "approvals", params(("id" = String, Path)), responses(
    (status = 200, body = ApprovalFull), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
) -> Result<Json<ApprovalFull>, Problem> {
    let read = approval::load(&console, id).await?;
    approval::full(&console, &read, &caller).await.map(Json)
}

/// Take an approval back. Before it runs, nothing runs; while it runs, the work is cancelled.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/revoke", tag = "approvals", params(("id" = String, Path)),
    request_body = Revoke, responses(
    (status = 200, body = ApprovalFull), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn revoke(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
    Input(asked): Input<Revoke>,
) -> Result<Json<ApprovalFull>, Problem> {
    caller.not_an_auditor()?;
    let reason = reason(&asked.reason)?;
    let read = approval::load(&console, id).await?;
    let taker = match caller.person() {
        None => Taker::Operator,
        Some(person) => {
            if vote::side_of(console.gate(), &read.hold).contains(&person) {
                const WHY: &str = "the requester's side does not take back what others decided";
                vote::attempted(console.gate(), id, actor(caller.author), WHY).await?;
                return Err(
                    Problem::forbidden(WHY).hint("freeze the agent or the target: that stops what runs")
                );
            }
            if !caller.is_administrator() && !approval::is_reviewer(&console, &read.hold, person) {
                return Err(Problem::forbidden(
                    "only those who may decide it, an administrator or the operator may",
                ));
            }
            Taker::Person(person)
        }
    };
    settle::revoke(console.gate(), id, taker, reason).await?.map_err(|rule| refused(&rule))?;
    let read = approval::load(&console, id).await?;
    approval::full(&console, &read, &caller).await.map(Json)
}

pub(crate) async fn page(
    console: &Console,
    caller: &Caller,
    which: Which,
) -> Result<Page<ApprovalItem>, Problem> {
    let limit = which.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` must be 1 to {MOST}")));
    }
    if which.open.as_deref().is_some_and(|open| !matches!(open, "yes" | "no")) {
        return Err(Problem::invalid("`open` must be `yes` or `no`"));
    }
    let before = which.before.map(|id| id.parse::<ApprovalId>()).transpose();
    let filter = HoldFilter {
        status: which.status,
        open: which.open,
        principal: which.principal,
        target: which.target,
        environment: which.environment,
        class: which.class,
        before: before.map_err(|error| Problem::invalid(error.to_string()))?,
        limit: limit + 1,
    };
    let mut holds = read::holds(console.gate(), filter).await?;
    let more = holds.len() > limit;
    holds.truncate(limit);
    let next = holds.last().filter(|_| more).map(|hold| hold.approval.id.to_string());
    Ok(Page { items: holds.iter().map(|hold| approval::item(console, hold, caller)).collect(), next })
}

/// A reason that was given and is not endless.
pub(crate) fn reason(text: &str) -> Result<&str, Problem> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(Problem::invalid("`reason` must say why")),
        1..=REASON_LIMIT => Ok(text),
        _ => Err(Problem::invalid(format!("`reason` must be at most {REASON_LIMIT} characters long"))),
    }
}
