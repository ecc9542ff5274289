//! The role binding, and everybody on the agent's side who tries to approve it; in the end a reviewer says no, and
//! why reaches the agent.

use super::{PATIENCE, Play, Promise, enrolled, refuses};
use crate::{
    DemoError,
    agent::Held,
    http::Answer,
    person::{Person, Strength},
    report::Log,
    setup::found,
    story::{self, watched::reason},
};
use reqwest::Method;
use serde_json::{Value, json};

const OPERATION: &str = "bindRole";
/// What somebody on the requester's side is told.
const SIDE: [&str; 2] = ["requester-side", "not-eligible"];
const WHY_NOT: &str =
    "an agent does not give itself administrator rights; ask for the one permission you need";

const INVITES: &str = "POST /api/v1/people";

fn friend(name: &str, account: &str) -> Value {
    let email = format!("{account}@example.com");
    json!({ "name": name, "email": email, "groups": ["security"], "role": "reviewer" })
}

impl Play {
    pub(super) async fn role_binding(&mut self, log: &mut Log) -> Result<(), DemoError> {
        let mut pia = self.friend_of_the_owner().await?;
        let promise = Promise("role-binding-is-held", "the role binding waits for security and nothing runs");
        let held = self.hold(log, &story::bind_administrator(), promise, OPERATION).await?;
        let Some(held) = held else { return Ok(()) };
        self.by_the_agent(log, &held).await?;
        self.with_an_agent_token(log, &held).await?;
        self.by_its_side(log, &held).await?;
        self.by_an_invited_reviewer(log, &held, &mut pia).await?;
        self.by_more_of_her_friends(log, &held).await?;
        self.with_anothers_ballot(log, &held).await?;
        self.rejected(log, &held).await
    }

    async fn by_the_agent(&self, log: &mut Log, held: &Held) -> Result<(), DemoError> {
        let decision = json!({ "decision": "approve" });
        let console = &self.doors.console_url;
        let ballot = format!("{console}/api/v1/approvals/{}/ballot", held.approval);
        let origin = [("origin", console.as_str())];
        let answer = self.agent.send(Method::POST, &ballot, &origin, Some(&decision)).await?;
        let promised = "the agent cannot approve its own request at the people's door";
        self.refused(log, held, Promise("agent-cannot-approve", promised), &answer, &["agent-credential"])
            .await?;
        let path = format!("/api/v1/approvals/{}/votes", held.approval);
        let answer = self.agent.send(Method::POST, &path, &[], Some(&decision)).await?;
        let promised = "the agent's own door has no route that votes";
        let codes = ["not-permitted", "wall", "malformed"];
        self.refused(log, held, Promise("gateway-has-no-vote", promised), &answer, &codes).await
    }

    async fn with_an_agent_token(&self, log: &mut Log, held: &Held) -> Result<(), DemoError> {
        let ballot = self.ben.ballot(&held.approval, "approve").await?.success("a reviewer's ballot")?.json();
        let vote =
            json!({ "statement": ballot.get("statement"), "assertion": Value::Null, "reason": Value::Null });
        let console = &self.doors.console_url;
        let votes = format!("{console}/api/v1/approvals/{}/votes", held.approval);
        let origin = [("origin", console.as_str())];
        let answer = self.agent.send(Method::POST, &votes, &origin, Some(&vote)).await?;
        let promised = "a reviewer's ballot handed in with an agent token is no vote";
        self.refused(log, held, Promise("agent-token-cannot-vote", promised), &answer, &["agent-credential"])
            .await
    }

    async fn by_its_side(&mut self, log: &mut Log, held: &Held) -> Result<(), DemoError> {
        let approval = &held.approval;
        let answer = self.olga.vote(approval, "approve", Strength::Passkey, None).await?;
        let promise =
            Promise("owner-cannot-approve", "the agent's owner cannot approve, though she is in security");
        self.refused(log, held, promise, &answer, &SIDE).await?;
        let answer = self.carl.vote(approval, "approve", Strength::Passkey, None).await?;
        let promise =
            Promise("creator-cannot-approve", "the agent's creator cannot approve, though he is in security");
        self.refused(log, held, promise, &answer, &SIDE).await?;
        let answer = self.zoe.vote(approval, "approve", Strength::Passkey, None).await?;
        let promise = Promise("beneficiary-cannot-approve", "the person the agent acts for cannot approve");
        self.refused(log, held, promise, &answer, &SIDE).await
    }

    /// A reviewer whom the agent's owner invites before she has anything to win by it.
    async fn friend_of_the_owner(&self) -> Result<Person, DemoError> {
        let invited = self.olga.write("people", &friend("Pia Puppet", "pia")).await?.success(INVITES)?.json();
        enrolled(&self.doors.console_url, &found(&invited, &["/link"], INVITES)?).await
    }

    async fn by_an_invited_reviewer(
        &self,
        log: &mut Log,
        held: &Held,
        pia: &mut Person,
    ) -> Result<(), DemoError> {
        let answer = pia.vote(&held.approval, "approve", Strength::Passkey, None).await?;
        let promised = "a reviewer whom the owner has just invited cannot approve";
        self.refused(log, held, Promise("invited-reviewer-cannot-approve", promised), &answer, &SIDE).await
    }

    async fn by_more_of_her_friends(&self, log: &mut Log, held: &Held) -> Result<(), DemoError> {
        let answer = self.olga.write("people", &friend("Paul Puppet", "paul")).await?;
        let promised = "while it waits, the owner puts nobody into the group that decides";
        self.refused(log, held, Promise("owner-cannot-edit-the-group", promised), &answer, &SIDE).await
    }

    async fn with_anothers_ballot(&mut self, log: &mut Log, held: &Held) -> Result<(), DemoError> {
        let ballot = self.ben.ballot(&held.approval, "approve").await?.success("a reviewer's ballot")?.json();
        let vote = self.olga.sign(&ballot, Strength::Passkey, None)?;
        let answer = self.olga.cast(&held.approval, &vote).await?;
        let promised = "the owner cannot hand in a reviewer's ballot, signed with her own passkey";
        let codes =
            ["requester-side", "not-eligible", "ballot", "not-yours", "forbidden", "passkey", "not-allowed"];
        self.refused(log, held, Promise("anothers-ballot-is-no-vote", promised), &answer, &codes).await
    }

    /// Records an attempt that must be refused and must leave the approval as it was.
    async fn refused(
        &self,
        log: &mut Log,
        held: &Held,
        promise: Promise<'_>,
        answer: &Answer,
        codes: &[&str],
    ) -> Result<(), DemoError> {
        let stands = self.standing(&held.approval).await?;
        let ran = self.count(OPERATION).await?;
        let ok = refuses(answer, codes) && stands.is_untouched() && ran == 0;
        let detail = json!({
            "status": answer.status, "code": answer.word("code"),
            "state": stands.state, "votes": stands.votes, "ran": ran,
        });
        log.step(promise.0, promise.1, answer.told(), ok, detail);
        Ok(())
    }

    async fn rejected(&mut self, log: &mut Log, held: &Held) -> Result<(), DemoError> {
        let vote = self.ben.vote(&held.approval, "reject", Strength::Passkey, Some(WHY_NOT)).await?;
        let answer = self.agent.answer(held, PATIENCE).await?;
        let ran = self.count(OPERATION).await?;
        let heard = format!("{} {}", reason(&answer), answer.word("detail")).contains(WHY_NOT);
        let ok = vote.is_success() && refuses(&answer, &["rejected"]) && heard && ran == 0;
        let detail =
            json!({ "vote": vote.told(), "status": answer.status, "reason": reason(&answer), "ran": ran });
        let promised = "a reviewer rejects it, the reason reaches the agent, and nothing runs";
        log.step("role-binding-is-rejected", promised, answer.told(), ok, detail);
        Ok(())
    }
}
