//! The customer export: two people, two passkeys, one run, one delivery; and what a used or revoked approval is
//! worth afterwards.

use super::{PATIENCE, Play, Promise, refuses};
use crate::{
    DemoError,
    agent::{Held, held},
    person::Strength,
    report::Log,
    story,
};
use serde_json::json;

const OPERATION: &str = "exportCustomers";

impl Play {
    pub(super) async fn export(&mut self, log: &mut Log) -> Result<(), DemoError> {
        let promise =
            Promise("export-is-held", "the export waits for two people of privacy and nothing runs");
        let Some(first) = self.hold(log, &story::export(), promise, OPERATION).await? else { return Ok(()) };
        self.repeat_attaches(log, &first).await?;
        self.one_voice(log, &first).await?;
        self.runs_once(log, &first).await?;
        self.result_is_spent(log, &first).await?;
        let Some(again) = self.replay(log, &first).await? else { return Ok(()) };
        self.revoked_before_it_runs(log, &again).await
    }

    async fn repeat_attaches(&self, log: &mut Log, first: &Held) -> Result<(), DemoError> {
        let answer = self.agent.ask(&story::export()).await?;
        let again = held(&answer).map(|held| held.approval);
        let ok = again.as_deref() == Some(first.approval.as_str());
        let observed = again.map_or_else(|| answer.told(), |approval| format!("202, waiting as {approval}"));
        let promised = "the same bytes sent again attach to the same approval; nobody is asked twice";
        log.step("repeat-attaches", promised, observed, ok, json!({ "status": answer.status }));
        Ok(())
    }

    async fn one_voice(&mut self, log: &mut Log, first: &Held) -> Result<(), DemoError> {
        let vote = self.ana.vote(&first.approval, "approve", Strength::Passkey, None).await?;
        let again = self.ana.vote(&first.approval, "approve", Strength::Passkey, None).await?;
        let stands = self.standing(&first.approval).await?;
        let ran = self.count(OPERATION).await?;
        let ok = vote.is_success() && stands.state == "pending" && stands.votes == 1 && ran == 0;
        let observed = format!("{} with {} vote after two by the same person", stands.state, stands.votes);
        let detail =
            json!({ "first": vote.status, "second": again.told(), "votes": stands.votes, "ran": ran });
        let promised =
            "one person is one voice: a second vote of the same person does not make a quorum of two";
        log.step("double-vote-counts-once", promised, observed, ok, detail);
        Ok(())
    }

    async fn runs_once(&mut self, log: &mut Log, first: &Held) -> Result<(), DemoError> {
        let vote = self.ben.vote(&first.approval, "approve", Strength::Passkey, None).await?;
        let answer = self.agent.answer(first, PATIENCE).await?;
        let rows = String::from_utf8_lossy(&answer.body).lines().count().saturating_sub(1);
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        let ran = self.count(OPERATION).await?;
        let ok = vote.is_success()
            && answer.status == 200
            && rows > 300
            && kind.starts_with("text/csv")
            && ran == 1;
        let observed = format!("{} {kind}, {rows} rows; it ran {ran} time(s)", answer.status);
        let detail =
            json!({ "vote": vote.told(), "status": answer.status, "bytes": answer.body.len(), "ran": ran });
        let promised = "the second person's passkey vote lets it run once, and its result reaches the agent";
        log.step("export-runs-once-approved", promised, observed, ok, detail);
        Ok(())
    }

    async fn result_is_spent(&self, log: &mut Log, first: &Held) -> Result<(), DemoError> {
        self.delivered(first).await?;
        let look = self.agent.look(first, "wait=0").await?;
        let ran = self.count(OPERATION).await?;
        let ok = !look.is_success() && ran == 1;
        let promised = "the old location hands the result over once and never executes";
        log.step(
            "location-never-executes",
            promised,
            look.told(),
            ok,
            json!({ "status": look.status, "ran": ran }),
        );
        Ok(())
    }

    async fn replay(&self, log: &mut Log, first: &Held) -> Result<Option<Held>, DemoError> {
        let promise =
            Promise("replay-is-a-new-request", "the same bytes after delivery ask people anew; nothing runs");
        let again = self.hold(log, &story::export(), promise, OPERATION).await?;
        let Some(again) = again else { return Ok(None) };
        let ran = self.count(OPERATION).await?;
        let ok = again.approval != first.approval && ran == 1;
        let observed =
            format!("{} is spent; {} waits; it ran {ran} time(s) in all", first.approval, again.approval);
        let promised = "a used grant cannot be used again";
        log.step("used-grant-is-spent", promised, observed, ok, json!({ "ran": ran }));
        Ok(Some(again))
    }

    async fn revoked_before_it_runs(&mut self, log: &mut Log, held: &Held) -> Result<(), DemoError> {
        let vote = self.ana.vote(&held.approval, "approve", Strength::Passkey, None).await?;
        let why = json!({ "reason": "one export a night is enough" });
        let revoke = self.ben.write(&format!("approvals/{}/revoke", held.approval), &why).await?;
        let late = self.ben.vote(&held.approval, "approve", Strength::Passkey, None).await?;
        let answer = self.agent.answer(held, PATIENCE).await?;
        let ran = self.count(OPERATION).await?;
        let ok = vote.is_success()
            && revoke.is_success()
            && (400..500).contains(&late.status)
            && refuses(&answer, &["revoked"])
            && ran == 1;
        let detail = json!({
            "vote": vote.status, "revoke": revoke.told(), "late_vote": late.told(),
            "agent": answer.told(), "ran": ran,
        });
        let promised = "revoked before it runs, nothing runs, and a later vote changes nothing";
        log.step("revoked-does-not-run", promised, answer.told(), ok, detail);
        Ok(())
    }
}
