//! What agents did lately, and what they may do and never did.

use super::{things::AgentItem, time};
use crate::{console::Console, error::Problem};
use countersign_core::{PrincipalId, Timestamp};
use countersign_engine::activity::{self, Activity};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// What was seen of agents.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ActivityItem {
    /// Everything after this moment was counted.
    pub(crate) since: String,
    /// Every entry of the time that was asked about was counted; else only the newest.
    pub(crate) whole: bool,
    /// The last seen first.
    pub(crate) agents: Vec<AgentActivity>,
}

/// One agent: what it did, and what it may do and did not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AgentActivity {
    pub(crate) agent: AgentItem,
    /// When it last asked for something, or showed a token since the gateway started; `null`: not in this time.
    pub(crate) last_seen_at: Option<String>,
    pub(crate) asked: u64,
    pub(crate) permitted: u64,
    pub(crate) held: u64,
    pub(crate) refused: u64,
    pub(crate) approved: u64,
    pub(crate) rejected: u64,
    pub(crate) lapsed: u64,
    pub(crate) taken_back: u64,
    /// Approved, of what people decided or let lapse.
    pub(crate) approval_percent: Option<u64>,
    /// Refused by policy, of all that it asked for.
    pub(crate) refusal_percent: Option<u64>,
    /// What it asked for most, the most first.
    pub(crate) operations: Vec<OperationCount>,
    /// Permits whose scope means it and by which nothing of it ran. Their conditions are not looked at.
    pub(crate) unused: Vec<UnusedPermit>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OperationCount {
    pub(crate) target: String,
    /// The operation, or the class where it was not recognised.
    pub(crate) operation: String,
    pub(crate) count: u64,
}

/// A permit that nothing ran by.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UnusedPermit {
    pub(crate) policy: String,
    pub(crate) file: String,
    pub(crate) line: usize,
}

/// How many operations of an agent are listed.
const OPERATIONS: usize = 10;

impl Console {
    pub(crate) async fn activity(&self, days: u32) -> Result<ActivityItem, Problem> {
        let now = self.gate().now();
        let since = now.minus(Duration::from_hours(24) * days);
        let mut seen = activity::of_agents(self.gate(), since).await?;
        let mut agents: Vec<(Option<Timestamp>, AgentActivity)> = Vec::new();
        for agent in self.directory().agents_at() {
            let done = seen.agents.remove(&agent.0.id).unwrap_or_default();
            let tokens = self.directory().tokens(agent.0.id);
            let shown = tokens.iter().filter_map(|token| token.used_at).max();
            let last = Some(done.last).filter(|last| *last > since).max(shown);
            agents.push((last, self.agent_activity(&agent, last, done)));
        }
        agents.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.agent.name.cmp(&right.1.agent.name)));
        let agents = agents.into_iter().map(|(_, agent)| agent).collect();
        Ok(ActivityItem { since: time(seen.since), whole: seen.whole, agents })
    }

    fn agent_activity(
        &self,
        agent: &(countersign_identity::Agent, u64),
        last: Option<Timestamp>,
        done: Activity,
    ) -> AgentActivity {
        let who = &agent.0;
        let bundle = self.gate().policies().current();
        let permits = bundle.permits_for(who.kind, PrincipalId::Agent(who.id), &who.groups);
        let unused = permits.into_iter().filter(|rule| !done.policies.contains(&rule.id));
        let decided = done.approved + done.rejected + done.lapsed;
        let asked = done.asked_for();
        let percent = |part: u64, whole: u64| (part * 100).checked_div(whole);
        let mut operations: Vec<_> = done.operations.into_iter().collect();
        operations.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(&right.0)));
        let count = |((target, operation), count): ((countersign_core::TargetName, String), u64)| {
            OperationCount { target: target.to_string(), operation, count }
        };
        AgentActivity {
            agent: self.agent_item(agent),
            last_seen_at: last.map(time),
            asked,
            permitted: done.permitted,
            held: done.held,
            refused: done.refused,
            approved: done.approved,
            rejected: done.rejected,
            lapsed: done.lapsed,
            taken_back: done.taken_back,
            approval_percent: percent(done.approved, decided),
            refusal_percent: percent(done.refused, asked),
            operations: operations.into_iter().take(OPERATIONS).map(count).collect(),
            unused: unused
                .map(|rule| UnusedPermit {
                    policy: rule.id.to_string(),
                    file: rule.file,
                    line: rule.position.line,
                })
                .collect(),
        }
    }
}
