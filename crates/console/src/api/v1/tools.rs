//! Tools as targets describe them. Everybody looks; an administrator or the operator accepts and refuses.

use crate::{
    body::Input,
    caller::{Caller, own_cause},
    console::Console,
    error::Problem,
    model::tools::{ToolFull, ToolItem},
};
use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{Digest, TargetName, approval::Taker};
use countersign_engine::{
    definitions::{self, Verdict},
    rules,
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

/// A decision on a description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decide {
    /// The description's digest: what was looked at, and nothing else, is decided on.
    definition: String,
    #[schema(value_type = String, example = "accept")]
    verdict: Word,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Accept,
    Refuse,
}

/// Every tool of a target that is known.
#[utoipa::path(get, path = "/api/v1/targets/{id}/tools", tag = "tools", params(("id" = String, Path)), responses(
    (status = 200, body = [ToolItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    _caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Vec<ToolItem>>, Problem> {
    Ok(Json(console.tool_items(&target(&console, &id)?)))
}

/// One description, compared with the accepted one.
#[utoipa::path(get, path = "/api/v1/targets/{id}/tools/{definition}", tag = "tools",
    params(("id" = String, Path), ("definition" = String, Path)), responses(
    (status = 200, body = ToolFull), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(console): State<Console>,
    _caller: Caller,
    Path((id, definition)): Path<(String, String)>,
) -> Result<Json<ToolFull>, Problem> {
    console.tool_full(&target(&console, &id)?, digest(&definition)?).map(Json)
}

/// Ask the target which tools it has now, and keep what nobody has seen yet.
#[utoipa::path(post, path = "/api/v1/targets/{id}/tools/look", tag = "tools", params(("id" = String, Path)), responses(
    (status = 200, body = [ToolItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn look(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Vec<ToolItem>>, Problem> {
    caller.operates()?;
    let target = target(&console, &id)?;
    match definitions::look(console.gate(), &target).await? {
        Some(Ok(found)) => {
            let now = |item: &ToolItem| found.iter().any(|definition| definition.tool == item.tool);
            Ok(Json(console.tool_items(&target).into_iter().filter(now).collect()))
        }
        Some(Err(failed)) => {
            let detail = format!("`{target}` does not say which tools it has: {failed}");
            Err(Problem::new(StatusCode::BAD_GATEWAY, "unreachable", detail))
        }
        None => Err(Problem::invalid(format!("`{target}` has no tools: it is no MCP server"))),
    }
}

/// Accept or refuse a description.
#[utoipa::path(post, path = "/api/v1/targets/{id}/tools/decide", tag = "tools", params(("id" = String, Path)),
    request_body = Decide, responses(
    (status = 200, body = ToolItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn decide(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Input(asked): Input<Decide>,
) -> Result<Json<ToolItem>, Problem> {
    caller.administrator()?;
    let (target, digest) = (target(&console, &id)?, digest(&asked.definition)?);
    if let Some(by) = caller.person() {
        rules::may_review_tools(console.gate(), by, &target).await?.map_err(own_cause)?;
    }
    let verdict = match asked.verdict {
        Word::Accept => Verdict::Accept,
        Word::Refuse => Verdict::Refuse,
    };
    let by = caller.person().map_or(Taker::Operator, Taker::Person);
    let known = definitions::decide(console.gate(), &target, digest, verdict, by).await?;
    let missing = || Problem::not_found(format!("`{target}` has described no tool as `{digest}`"));
    known.map(|known| Json(console.tool_item(&known))).ok_or_else(missing)
}

pub(crate) fn target(console: &Console, name: &str) -> Result<TargetName, Problem> {
    let known = TargetName::new(name).ok().filter(|name| console.gate().target(name).is_some());
    known.ok_or_else(|| {
        Problem::not_found(format!("there is no target `{}`", countersign_core::visible::name(name)))
    })
}

pub(crate) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|_| Problem::invalid("`definition` is not a digest: write `sha256:` and 64 digits"))
}
