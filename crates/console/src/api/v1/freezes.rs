//! Freezing: an agent, a target, or everything. Whoever may review may freeze; lifting is for administrators and for those
//! who operate the gateway.

use crate::{
    body::Input,
    caller::{Caller, own_cause},
    console::Console,
    error::Problem,
    model::things::FreezeItem,
};
use axum::{Json, extract::State};
use countersign_core::{AgentId, TargetName};
use countersign_engine::{rules, settle};
use countersign_ledger::event::FreezeScope;

/// What is frozen.
#[utoipa::path(get, path = "/api/v1/freezes", tag = "freezes", responses(
    (status = 200, body = [FreezeItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(console): State<Console>, _caller: Caller) -> Json<Vec<FreezeItem>> {
    Json(frozen(&console))
}

/// Freeze: nothing new runs there, and what runs is cancelled.
#[utoipa::path(post, path = "/api/v1/freezes", tag = "freezes", request_body = FreezeItem, responses(
    (status = 200, body = [FreezeItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn set(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<FreezeItem>,
) -> Result<Json<Vec<FreezeItem>>, Problem> {
    caller.not_an_auditor()?;
    let scope = scope(&asked)?;
    match &scope {
        FreezeScope::All => {}
        FreezeScope::Agent { id } if console.directory().agent(*id).is_some() => {}
        FreezeScope::Target { name } if console.gate().target(name).is_some() => {}
        FreezeScope::Agent { id } => return Err(Problem::invalid(format!("`id`: there is no agent `{id}`"))),
        FreezeScope::Target { name } => {
            return Err(Problem::invalid(format!("`name`: there is no target `{name}`")));
        }
    }
    let freezer = settle::Freezer { by: caller.person(), ..settle::Freezer::default() };
    settle::freeze(console.gate(), scope, freezer).await?;
    Ok(Json(frozen(&console)))
}

/// Lift a freeze.
#[utoipa::path(delete, path = "/api/v1/freezes", tag = "freezes", request_body = FreezeItem, responses(
    (status = 200, body = [FreezeItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn lift(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<FreezeItem>,
) -> Result<Json<Vec<FreezeItem>>, Problem> {
    caller.operates()?;
    let scope = scope(&asked)?;
    if let (FreezeScope::Agent { id }, Some(person)) = (&scope, caller.person())
        && console.behind(*id).contains(&person)
    {
        const WHY: &str = "whoever stands behind an agent does not lift its freeze";
        rules::interfered(console.gate(), person, *id, WHY).await?;
        return Err(Problem::forbidden(WHY));
    }
    if let Some(person) = caller.person() {
        rules::may_thaw(console.gate(), person, &scope).await?.map_err(own_cause)?;
    }
    settle::thaw(console.gate(), scope, caller.person()).await?;
    Ok(Json(frozen(&console)))
}

fn frozen(console: &Console) -> Vec<FreezeItem> {
    console.gate().freezes().iter().map(FreezeItem::from).collect()
}

fn scope(asked: &FreezeItem) -> Result<FreezeScope, Problem> {
    Ok(match asked {
        FreezeItem::All {} => FreezeScope::All,
        FreezeItem::Agent { id } => {
            let id: AgentId = id.parse().map_err(|error| Problem::invalid(format!("`id`: {error}")))?;
            FreezeScope::Agent { id }
        }
        FreezeItem::Target { name } => {
            let name = TargetName::new(name.as_str())
                .map_err(|error| Problem::invalid(format!("`name`: {error}")))?;
            FreezeScope::Target { name }
        }
    })
}
