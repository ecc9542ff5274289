//! The action file of `countersign policy why`: who asks for which request. The request is understood by the same
//! classifier that reads the wire, so the answer is the one an agent would get.

use crate::{config::Config, failure::Failure};
use bytes::Bytes;
use countersign_core::{
    Action, ActionId, AgentId, Body, CredentialId, GroupName, Payload, PrincipalId, PrincipalKind, Requester,
    TargetName, Timestamp,
};
use countersign_pep_http::{classify::Shape, path};
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What an action file must look like; shown when one cannot be read.
pub(super) const EXAMPLE: &str = r#"write for example {"groups": ["platform-agents"], "target": "billing", "method": "DELETE", "path": "/v1/customers/7", "body": {"cascade": true}}"#;

/// A request as somebody would describe it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    #[serde(default = "agent")]
    kind: PrincipalKind,
    #[serde(default)]
    groups: BTreeSet<GroupName>,
    #[serde(default)]
    clearances: BTreeSet<String>,
    /// What the caller's token says, of what policies may look at.
    #[serde(default)]
    claims: BTreeMap<String, String>,
    target: TargetName,
    #[serde(default = "get")]
    method: String,
    /// Path and query, as on the request line.
    path: String,
    /// JSON as it stands, or a text.
    body: Option<Value>,
    /// What the requester says it is for.
    reason: Option<String>,
}

fn agent() -> PrincipalKind {
    PrincipalKind::Agent
}

fn get() -> String {
    "GET".into()
}

impl Question {
    /// The action an agent's request would become.
    pub(super) fn action(self, config: &Config, now: Timestamp) -> Result<Action, Failure> {
        let wrong = |why: String| Failure::usage(why).hint(EXAMPLE);
        let known = || config.http.iter().map(|target| target.classifier.surroundings().target.to_string());
        let target = config.http.iter().find(|target| target.classifier.surroundings().target == self.target);
        let target = target.ok_or_else(|| {
            let names = known().collect::<Vec<_>>().join("`, `");
            Failure::usage(format!("there is no target `{}`", self.target))
                .hint(format!("use one of `{names}`"))
        })?;
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| wrong(format!("`{}` is not a method", self.method)))?;
        let location =
            path::read(&self.path).map_err(|error| wrong(format!("`{}` is refused: {error}", self.path)))?;
        let body = match self.body {
            None => Bytes::new(),
            Some(Value::String(text)) => Bytes::from(text),
            Some(json) => Bytes::from(json.to_string()),
        };
        let found = target.classifier.find(&method, &location.segments);
        let understood = target
            .classifier
            .understand(&found, Shape::Exchange, &method, &location, &HeaderMap::new(), &body)
            .map_err(|error| wrong(format!("the request is refused before it is decided: {error}")))?;
        let mut facts = understood.facts;
        facts.insert("host".into(), target.origin.authority.as_str().into());
        let around = target.classifier.surroundings();
        Ok(Action {
            id: ActionId::from_parts(now.unix_ms(), 0),
            received_at: now,
            requester: Requester {
                principal: PrincipalId::Agent(AgentId::from_parts(0, 0)),
                kind: self.kind,
                name: "the caller of this question".into(),
                groups: self.groups,
                clearances: self.clearances,
                claims: self.claims,
                owners: BTreeSet::new(),
                created_by: None,
                on_behalf_of: Vec::new(),
                credential: CredentialId::from_parts(0, 0),
            },
            target: around.target.clone(),
            environment: around.environment.clone(),
            credential_profile: target.credential_profile.clone(),
            wire: "http".into(),
            operation: understood.operation,
            resources: understood.resources,
            facts,
            session: BTreeMap::new(),
            payload: Payload {
                head: Bytes::from(format!("{method} {}", self.path)),
                body: Body::Bound(body),
            },
            idempotency_key: None,
            sentence: understood.sentence,
            evidence: None,
            claimed_reason: self.reason,
            claimed_ticket: None,
        })
    }
}
