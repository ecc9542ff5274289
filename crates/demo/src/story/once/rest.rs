//! The permitted read, the configuration change with its swapped body, the wall, and the tally at the end.

use super::{PATIENCE, Play, Promise, refuses};
use crate::{
    DemoError,
    agent::{Held, held},
    cloud::Effect,
    person::Strength,
    report::Log,
    story,
};
use reqwest::Method;
use serde_json::{Value, json};

const OPERATION: &str = "setConfig";

impl Play {
    pub(super) async fn read_status(&self, log: &mut Log) -> Result<(), DemoError> {
        let answer = self.agent.ask(&story::status()).await?;
        let ran = self.count("serviceStatus").await?;
        let ok = answer.status == 200 && answer.word("status") == "degraded" && ran == 1;
        let promised = "reading a service's status is permitted and answered at once";
        let observed = format!("{}, checkout is {}", answer.status, answer.word("status"));
        log.step("read-is-permitted", promised, observed, ok, json!({ "status": answer.status, "ran": ran }));
        Ok(())
    }

    pub(super) async fn configuration(&mut self, log: &mut Log) -> Result<(), DemoError> {
        let promise = Promise("config-change-is-held", "the production configuration change waits for sre");
        let held = self.hold(log, &story::configure("3000"), promise, OPERATION).await?;
        let Some(held) = held else { return Ok(()) };
        let vote = self.ana.vote(&held.approval, "approve", Strength::Session, None).await?;
        let worth = self.worth(&held).await?;
        let ok = vote.is_success() && worth == "session";
        let promised =
            "policy accepts a signed-in session here, and the record says it was no more than that";
        log.step(
            "session-vote-counts",
            promised,
            format!("{}, {worth}", vote.status),
            ok,
            json!({ "vote": vote.told() }),
        );
        let changed = self.changed_body(log, &held).await?;
        let answer = self.agent.answer(&held, PATIENCE).await?;
        let done: Vec<Effect> = self.effects().await?;
        let done: Vec<&str> =
            done.iter().filter(|one| one.operation == OPERATION).map(|one| one.detail.as_str()).collect();
        let ok = answer.status == 200 && done == ["prod/checkout-timeout-ms = 3000"];
        let promised = "what was approved is what ran, once";
        log.step("approved-change-runs", promised, done.join("; "), ok, json!({ "status": answer.status }));
        if let Some(changed) = changed {
            let withdrawn = self.agent.withdraw(&changed).await?;
            let look = self.agent.look(&changed, "wait=0").await?;
            let ok =
                withdrawn.is_success() && refuses(&look, &["withdrawn"]) && self.count(OPERATION).await? == 1;
            let promised = "the agent can take its request back, and then nothing runs";
            log.step(
                "withdrawn-does-not-run",
                promised,
                look.told(),
                ok,
                json!({ "status": withdrawn.status }),
            );
        }
        Ok(())
    }

    /// The assurance the record gives the first vote.
    async fn worth(&self, held: &Held) -> Result<String, DemoError> {
        let shown = self.ana.approval(&held.approval).await?;
        let rounds = shown.get("rounds").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut votes = rounds.iter().filter_map(|round| round.get("votes")?.as_array()).flatten();
        let worth = votes.find_map(|vote| vote.get("assurance")?.as_str());
        Ok(worth.unwrap_or("no vote recorded").to_owned())
    }

    /// Other bytes that claim to be what was approved.
    async fn changed_body(&self, log: &mut Log, approved: &Held) -> Result<Option<Held>, DemoError> {
        let claim = approved.approval.as_str();
        let claims = [
            ("countersign-approval", claim),
            ("countersign-approval-id", claim),
            ("x-approval-id", claim),
            ("if-match", "*"),
        ];
        let answer = self.agent.ask_with(&story::configure("1"), &claims).await?;
        let changed = held(&answer);
        let other = changed.as_ref().is_some_and(|held| held.approval != approved.approval);
        let observed = changed
            .as_ref()
            .map_or_else(|| answer.told(), |held| format!("202, waiting as {}", held.approval));
        let promised = "other bytes that claim an approved id are a request of their own";
        log.step(
            "changed-body-asks-anew",
            promised,
            observed,
            other,
            json!({ "claimed": claim, "told": answer.json() }),
        );
        let body = json!({ "value": "1" });
        let sent = self.agent.send(Method::PUT, &approved.location, &[], Some(&body)).await?;
        let ok = (400..500).contains(&sent.status);
        let promised = "bytes sent to the approval's own location are refused";
        log.step("location-takes-no-bytes", promised, sent.told(), ok, json!({ "status": sent.status }));
        Ok(changed)
    }

    pub(super) async fn wall(&self, log: &mut Log) -> Result<(), DemoError> {
        let answer = self.agent.ask(&story::fedramp()).await?;
        let ran = self.count("zoneRecords").await?;
        let approval = answer.json().get("approval").is_some_and(|approval| !approval.is_null());
        let ok = answer.status == 403 && refuses(&answer, &["wall"]) && !approval && ran == 0;
        let promised =
            "reading production data inside the FedRAMP boundary is refused by a wall nobody can lift";
        log.step("wall-refuses", promised, answer.told(), ok, json!({ "status": answer.status, "ran": ran }));
        Ok(())
    }

    pub(super) async fn tally(&self, log: &mut Log) -> Result<(), DemoError> {
        let happened: Vec<_> = self
            .effects()
            .await?
            .into_iter()
            .map(|effect| format!("{} {}", effect.operation, effect.detail))
            .collect();
        let wanted =
            ["serviceStatus checkout", "exportCustomers csv", "setConfig prod/checkout-timeout-ms = 3000"];
        let ok = happened == wanted;
        let promised = "the cloud saw exactly what was permitted or approved, each once, and nothing else";
        log.step(
            "effects-are-what-was-approved",
            promised,
            happened.join("; "),
            ok,
            json!({ "effects": happened }),
        );
        Ok(())
    }
}
