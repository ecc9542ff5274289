//! Agents and their tokens, and what they did.

#![expect(unused_qualifications, reason = "written by the macro that describes query parameters")]

use crate::{
    body::{Id, IfMatch, Input, Params, Tagged},
    caller::Caller,
    console::Console,
    error::Problem,
    model::{
        activity::ActivityItem,
        things::{AgentItem, ChainItem, IssuerItem, TokenItem},
    },
    reading,
};
use axum::{Json, extract::State};
use countersign_core::{AgentId, CredentialId, GroupName, PersonId, PrincipalKind};
use countersign_engine::rules;
use countersign_identity::{AgentChange, EmailAddress, NewAgent, NewToken, Seen};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use utoipa::{IntoParams, ToSchema};

/// An agent to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    name: String,
    /// `agent` or `service`.
    #[schema(value_type = String)]
    kind: PrincipalKind,
    /// The e-mail address or id of the person who answers for it.
    owner: String,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    groups: BTreeSet<GroupName>,
    #[serde(default)]
    clearances: BTreeSet<String>,
}

/// What an agent shall be from now on; what is not named stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// E-mail addresses or ids.
    owners: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<String>>)]
    groups: Option<BTreeSet<GroupName>>,
    clearances: Option<BTreeSet<String>>,
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateToken {
    label: String,
    /// A span such as `30d`, `12h` or `15m`; without it the token works until it is revoked.
    expires_in: Option<String>,
    /// The e-mail address or id of the person the agent acts for with this token.
    on_behalf_of: Option<String>,
}

/// A token, shown once.
#[derive(Serialize, ToSchema)]
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) token: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedAgent {
    id: String,
}

/// Every agent.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", responses(
    (status = 200, body = [AgentItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(console): State<Console>, _caller: Caller) -> Json<Vec<AgentItem>> {
    Json(console.directory().agents_at().iter().map(|agent| console.agent_item(agent)).collect())
}

/// How far back.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HowFar {
    /// Days, 1 to 90; 30 unless said.
    days: Option<u32>,
}

impl HowFar {
    pub(crate) fn days(self) -> Result<u32, Problem> {
        match self.days.unwrap_or(30) {
            days @ 1..=90 => Ok(days),
            _ => Err(Problem::invalid("`days` must be 1 to 90")),
        }
    }
}

/// What agents did lately, the last seen first; and the permits that mean them and by which nothing of theirs ran.
#[utoipa::path(get, path = "/api/v1/activity", tag = "agents", params(HowFar), responses(
    (status = 200, body = ActivityItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn activity(
    State(console): State<Console>,
    caller: Caller,
    Params(far): Params<HowFar>,
) -> Result<Json<ActivityItem>, Problem> {
    let days = far.days()?;
    reading::read(&console, &caller, "agents' activity".into()).await?;
    console.activity(days).await.map(Json)
}

/// One agent. The `ETag` is for a change that is meant for what was seen.
#[utoipa::path(get, path = "/api/v1/agents/{id}", tag = "agents", params(("id" = String, Path)), responses(
    (status = 200, body = AgentItem, headers(("ETag" = String, description = "the version that is shown"))),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(console): State<Console>,
    _caller: Caller,
    Id(id): Id<AgentId>,
) -> Result<Tagged<Json<AgentItem>>, Problem> {
    shown(&console, id)
}

/// Create an agent.
#[utoipa::path(post, path = "/api/v1/agents", tag = "agents", request_body = Create, responses(
    (status = 201, body = CreatedAgent), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<Create>,
) -> Result<(StatusCode, Json<CreatedAgent>), Problem> {
    caller.administrator()?;
    let new = NewAgent {
        name: asked.name,
        kind: asked.kind,
        owners: [person(&console, "owner", &asked.owner)?].into(),
        groups: asked.groups,
        clearances: asked.clearances,
    };
    let id = console.directory().create_agent(caller.author, new).await?;
    Ok((StatusCode::CREATED, Json(CreatedAgent { id: id.to_string() })))
}

/// Change who owns an agent and what it belongs to.
#[utoipa::path(patch, path = "/api/v1/agents/{id}", tag = "agents", params(("id" = String, Path),
    ("If-Match" = Option<String>, Header, description = "the `ETag` that was seen: nothing is changed when it is another by now")), request_body = Change,
    responses(
    (status = 200, body = AgentItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<AgentId>,
    IfMatch(version): IfMatch,
    Input(asked): Input<Change>,
) -> Result<Tagged<Json<AgentItem>>, Problem> {
    caller.administrator()?;
    let widens = asked.groups.is_some() || asked.clearances.is_some();
    let behind = console.directory().behind_agent(id).map(|(behind, _)| behind).unwrap_or_default();
    if let Some(person) = caller.person().filter(|person| widens && behind.contains_key(person)) {
        const WHY: &str = "whoever stands behind an agent does not say what it belongs to";
        rules::interfered(console.gate(), person, id, WHY).await?;
        return Err(Problem::forbidden(WHY).hint("ask an administrator who has no part in it"));
    }
    let named = |owners: Vec<String>| -> Result<BTreeSet<PersonId>, Problem> {
        owners.iter().map(|owner| person(&console, "owners", owner)).collect()
    };
    let owners = asked.owners.map(named).transpose()?;
    let change = AgentChange { owners, groups: asked.groups, clearances: asked.clearances };
    console.directory().change_agent(caller.author, Seen { id, version }, change).await?;
    shown(&console, id)
}

/// End an agent: its tokens are revoked.
#[utoipa::path(delete, path = "/api/v1/agents/{id}", tag = "agents", params(("id" = String, Path),
    ("If-Match" = Option<String>, Header, description = "the `ETag` that was seen: nothing is changed when it is another by now")), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn disable(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<AgentId>,
    IfMatch(version): IfMatch,
) -> Result<StatusCode, Problem> {
    caller.administrator()?;
    console.directory().disable_agent(caller.author, Seen { id, version }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An agent's tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/agents/{id}/tokens", tag = "agents", params(("id" = String, Path)), responses(
    (status = 200, body = [TokenItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn tokens(
    State(console): State<Console>,
    _caller: Caller,
    Id(id): Id<AgentId>,
) -> Result<Json<Vec<TokenItem>>, Problem> {
    if console.directory().agent(id).is_none() {
        return Err(Problem::not_found(format!("there is no agent `{id}`")));
    }
    Ok(Json(console.directory().tokens(id).iter().map(|token| console.token_item(token)).collect()))
}

/// Who can never approve what an agent asks, and why.
#[utoipa::path(get, path = "/api/v1/agents/{id}/chain", tag = "agents", params(("id" = String, Path)), responses(
    (status = 200, body = [ChainItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn chain(
    State(console): State<Console>,
    _caller: Caller,
    Id(id): Id<AgentId>,
) -> Result<Json<Vec<ChainItem>>, Problem> {
    let found = console.chain_items(id);
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no agent `{id}`")))
}

/// The issuers whose signed tokens are believed, and how their keys are doing.
#[utoipa::path(get, path = "/api/v1/issuers", tag = "agents", responses(
    (status = 200, body = [IssuerItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn issuers(State(console): State<Console>, _caller: Caller) -> Json<Vec<IssuerItem>> {
    Json(console.issuer_items())
}

/// Make a token. An agent's owner may, too.
#[utoipa::path(post, path = "/api/v1/agents/{id}/tokens", tag = "agents", params(("id" = String, Path)),
    request_body = CreateToken, responses(
    (status = 201, body = Created), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create_token(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Input(asked): Input<CreateToken>,
) -> Result<(StatusCode, Json<Created>), Problem> {
    let behalf = asked.on_behalf_of.filter(|who| !who.is_empty());
    let lasts = asked.expires_in.filter(|span| !span.is_empty()).map(|span| duration(&span)).transpose()?;
    let new = NewToken {
        agent: id,
        label: asked.label,
        expires: lasts.map(|lasts| console.gate().now().plus(lasts)),
        on_behalf_of: behalf.map(|who| person(&console, "on_behalf_of", &who)).transpose()?,
    };
    let (id, secret) = console.directory().create_token(caller.author, new).await?;
    Ok((StatusCode::CREATED, Json(Created { id: id.to_string(), token: secret.reveal().to_owned() })))
}

/// Revoke a token.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "agents", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn revoke_token(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<CredentialId>,
) -> Result<StatusCode, Problem> {
    console.directory().revoke_token(caller.author, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(console: &Console, id: AgentId) -> Result<Tagged<Json<AgentItem>>, Problem> {
    let found = console.directory().agent_at(id);
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no agent `{id}`")))?;
    Ok(Tagged(found.1, Json(console.agent_item(&found))))
}

/// The person a field names, by id or e-mail address.
fn person(console: &Console, field: &str, named: &str) -> Result<PersonId, Problem> {
    let directory = console.directory();
    let found = match named.parse::<PersonId>() {
        Ok(id) => directory.person(id),
        Err(_) => EmailAddress::new(named).ok().and_then(|email| directory.person_by_email(&email)),
    };
    let shown = countersign_core::visible::one_line(&named.chars().take(80).collect::<String>());
    let unknown = || Problem::invalid(format!("`{field}`: there is no person `{shown}`"));
    found.map(|person| person.id).ok_or_else(unknown)
}

pub(crate) fn duration(span: &str) -> Result<Duration, Problem> {
    const DAY: u64 = 86_400;
    let refuse =
        || Problem::invalid("`expires_in` must be a span such as `30d`, `12h` or `15m`, at most `366d`");
    let (number, unit) = span.char_indices().last().map(|(at, _)| span.split_at(at)).ok_or_else(refuse)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => DAY,
        _ => return Err(refuse()),
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let total = number.checked_mul(seconds).filter(|total| (60..=366 * DAY).contains(total));
    total.map(Duration::from_secs).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_numbers_of_a_unit() {
        for (span, seconds) in [("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("366d", 31_622_400)] {
            assert_eq!(duration(span).unwrap(), Duration::from_secs(seconds), "{span}");
        }
        for bad in ["", "d", "30", "0d", "-1d", "1.5h", "367d", "99999999999999999999d", "1y", "3ü"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
