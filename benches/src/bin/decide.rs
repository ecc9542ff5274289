//! How long a decision takes under a hundred policies: asked of Cedar afresh, and answered from memory.
//!
//! Each time includes making the action from its parts, the question with its entities, and the answer.

use countersign_benches::{
    Result, percentile,
    report::{Figure, Goal, publish},
};
use countersign_core::{
    Action, ActionId, AgentId, Body, Class, CredentialId, Decision, EnvironmentName, GroupName, Operation,
    Payload, PersonId, PrincipalId, PrincipalKind, Requester, Resource, TargetName, Timestamp,
};
use countersign_policy::{
    Bundle, DeclaredOperation, DeclaredTarget, Evaluation, FactType, Source, Vocabulary,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Instant,
};

const WARM: usize = 500;
const ROUNDS: usize = 20_000;
const NOW: Timestamp = Timestamp(1_795_226_400_000_000);
const TEAMS: usize = 20;

fn main() -> Result<()> {
    let text = policies()?;
    let bundle = Bundle::load(vec![Source::new("bench.cedar", text)], &vocabulary()?)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let afresh = time(usize::MAX, |action| bundle.decide_afresh(action, NOW))?;
    let remembered = time(WARM, |action| bundle.decide(action, NOW))?;
    let goal = |what: &str, times: &Times, most| {
        Figure::new(format!("decide, 100 policies, {what}, median"), times.p50, "µs", Goal::AtMost(most))
    };
    let figures = [goal("afresh", &afresh, 250.0), goal("remembered", &remembered, 250.0)];
    publish(
        "decide",
        json!({"policies": 100, "afresh": afresh.told(), "remembered": remembered.told()}),
        &figures,
    )
}

struct Times {
    p50: f64,
    p99: f64,
}

impl Times {
    fn told(&self) -> Value {
        json!({"p50_us": self.p50, "p99_us": self.p99})
    }
}

/// Times decisions on so many different actions, again and again.
fn time(different: usize, decide: impl Fn(&Action) -> Evaluation) -> Result<Times> {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..WARM + ROUNDS {
        let begun = Instant::now();
        let action = action(round % different)?;
        let evaluation = decide(&action);
        let took = begun.elapsed();
        if !matches!(evaluation.decision, Decision::Permit(_)) {
            return Err(format!("not permitted: {:?}", evaluation.decision).into());
        }
        if round >= WARM {
            times.push(took.as_secs_f64() * 1e6);
        }
    }
    Ok(Times { p50: percentile(&mut times, 50), p99: percentile(&mut times, 99) })
}

/// Twenty teams, each with permits, a gate and a wall of its own.
fn policies() -> Result<String> {
    let mut text = String::new();
    for team in 0..TEAMS {
        write!(
            text,
            r#"
@id("read-{team}")
permit (principal in Group::"team-{team}", action in Action::"read", resource in Environment::"prod");
@id("write-{team}")
permit (principal in Group::"team-{team}", action in Action::"write", resource in Target::"shop-{team}")
when {{ !resource.labels.contains("pii") }};
@id("stage-{team}")
permit (principal in Group::"team-{team}", action, resource in Environment::"staging")
unless {{ resource.labels.contains("frozen") }};
@id("large-{team}") @gate("large-{team}") @approvers("Group::\"sre\"") @reason("many rows leave at once")
forbid (principal, action in Action::"export", resource in Target::"shop-{team}")
when {{ context has http && context.http has rows && context.http.rows > 1000 }};
@id("wall-{team}") @reason("not for this team")
forbid (principal in Group::"team-{team}", action in Action::"read", resource)
when {{ resource.labels.contains("fedramp") && !principal.clearances.contains("fedramp") }};
"#
        )?;
    }
    Ok(text)
}

fn vocabulary() -> Result<Vocabulary> {
    let mut vocabulary = Vocabulary {
        environments: [EnvironmentName::new("prod")?, EnvironmentName::new("staging")?].into(),
        groups: [GroupName::new("sre")?].into(),
        labels: ["fedramp", "frozen", "pii"].map(str::to_owned).into(),
        ..Vocabulary::default()
    };
    for team in 0..TEAMS {
        vocabulary.groups.insert(GroupName::new(format!("team-{team}"))?);
        let target = TargetName::new(format!("shop-{team}"))?;
        let declared = DeclaredTarget { environment: EnvironmentName::new("prod")?, labels: BTreeSet::new() };
        vocabulary.targets.insert(target.clone(), declared);
        for (name, class) in [("readOrder", Class::Read), ("exportOrders", Class::Export)] {
            let facts = BTreeMap::from([("rows".to_owned(), FactType::Long)]);
            let operation = DeclaredOperation { target: target.clone(), name: name.into(), class, facts };
            vocabulary.operations.push(operation);
        }
    }
    Ok(vocabulary)
}

/// An agent of one of the teams reads an order of its shop, another one each time.
fn action(round: usize) -> Result<Action> {
    let (team, number) = (round % TEAMS, round as u64);
    let path = format!("/orders/{round}");
    let facts: Map<String, Value> = [
        ("host".to_owned(), json!("shop.internal:8080")),
        ("method".to_owned(), json!("GET")),
        ("path".to_owned(), json!(path)),
        ("query".to_owned(), json!("")),
    ]
    .into_iter()
    .collect();
    Ok(Action {
        id: ActionId::from_parts(number, 1),
        received_at: NOW,
        requester: Requester {
            principal: PrincipalId::Agent(AgentId::from_parts(0, team as u128)),
            kind: PrincipalKind::Agent,
            name: "reporting bot".into(),
            groups: [GroupName::new(format!("team-{team}"))?].into(),
            clearances: BTreeSet::new(),
            claims: BTreeMap::new(),
            owners: [PersonId::from_parts(0, 1)].into(),
            created_by: Some(PersonId::from_parts(0, 2)),
            on_behalf_of: vec![PersonId::from_parts(0, 3)],
            credential: CredentialId::from_parts(0, 1),
        },
        target: TargetName::new(format!("shop-{team}"))?,
        environment: EnvironmentName::new("prod")?,
        credential_profile: "shop".into(),
        wire: "http".into(),
        operation: Operation { name: Some("readOrder".into()), class: Class::Read },
        resources: vec![Resource {
            kind: "order".into(),
            name: round.to_string(),
            labels: ["pii".to_owned()].into(),
        }],
        facts,
        session: BTreeMap::new(),
        payload: Payload { head: format!("GET {path}").into(), body: Body::Bound("".into()) },
        idempotency_key: None,
        sentence: format!("Read order {round} of shop-{team} (prod)."),
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    })
}
