//! The policy in force, and why it decides as it does.

use crate::{body::Input, caller::Caller, console::Console, error::Problem, model::things::TargetItem};
use axum::{Json, extract::State};
use countersign_core::Action;
use countersign_engine::port::identity::Identity as _;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The bundle in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PolicyItem {
    pub(crate) digest: String,
    pub(crate) sources: Vec<SourceItem>,
    pub(crate) rules: Vec<RuleItem>,
    /// What a person should look at; the bundle is in force all the same.
    pub(crate) warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SourceItem {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// One rule of the bundle.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RuleItem {
    pub(crate) id: String,
    /// `permit`, `wall`, `gate` or `vote-wall`.
    pub(crate) kind: String,
    pub(crate) gate: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) file: String,
    pub(crate) line: usize,
}

/// Configured targets.
#[utoipa::path(get, path = "/api/v1/targets", tag = "policy", responses(
    (status = 200, body = [TargetItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn targets(State(console): State<Console>, _caller: Caller) -> Json<Vec<TargetItem>> {
    Json(console.target_items())
}

/// The policy in force.
#[utoipa::path(get, path = "/api/v1/policy", tag = "policy", responses(
    (status = 200, body = PolicyItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(console): State<Console>, _caller: Caller) -> Json<PolicyItem> {
    Json(in_force(&console))
}

/// Why the policy in force answers an action as it does. Nothing runs.
#[utoipa::path(post, path = "/api/v1/policy/why", tag = "policy", request_body(content = Object, description = "an action"),
    responses(
    (status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn why(
    State(console): State<Console>,
    _caller: Caller,
    Input(action): Input<Action>,
) -> Result<Json<Value>, Problem> {
    let bundle = console.gate().policies().current();
    let explained = bundle.explain(&action, console.gate().now());
    serde_json::to_value(explained)
        .map(Json)
        .map_err(|_| Problem::internal("the explanation has no JSON form"))
}

pub(crate) fn in_force(console: &Console) -> PolicyItem {
    let bundle = console.gate().policies().current();
    let source = |source: &countersign_policy::Source| SourceItem {
        name: source.name.clone(),
        text: source.text.clone(),
    };
    let rules = bundle.rules().map(|rule| RuleItem {
        id: rule.id.to_string(),
        kind: crate::model::approval::word(&rule.kind),
        gate: rule.gate.map(|gate| gate.to_string()),
        reason: rule.reason,
        file: rule.file,
        line: rule.position.line,
    });
    let mut warnings = bundle.unreachable_quorums(&console.directory().membership());
    warnings.extend(bundle.idle_deferrals());
    warnings.extend(bundle.resting_on(&console.directory().settings().on_call));
    PolicyItem {
        digest: bundle.digest().to_string(),
        sources: bundle.sources().iter().map(source).collect(),
        rules: rules.collect(),
        warnings: warnings.iter().map(ToString::to_string).collect(),
    }
}
