//! The story with a person watching: the agent asks for everything it wants, waits as long as people take, and goes
//! on with whatever they decide.

use super::{Doors, bind_administrator, configure, export, fedramp, status};
use crate::{
    DemoError,
    agent::{Agent, Ask, Held, held},
    http::Answer,
};
use serde_json::Value;
use tokio::task::JoinSet;

/// Plays the agent's part and tells it line by line. Ends when every held request was decided.
pub async fn play(
    doors: &Doors,
    agent_token: &str,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<(), DemoError> {
    let agent = Agent::new(&doors.gateway_url, agent_token)?;
    tell("The agent looks at the failing service.");
    told(tell, "  status of checkout", &agent.ask(&status()).await?);
    let mut waiting = JoinSet::new();
    for (what, ask) in [
        ("export of the customer table", export()),
        ("administrator role for itself", bind_administrator()),
        ("production configuration change", configure("3000")),
    ] {
        if let Some(held) = place(&agent, tell, what, &ask).await? {
            let agent = agent.clone();
            waiting.spawn(async move { (what, agent.await_people(&held).await) });
        }
    }
    tell("It tries to read production data inside the FedRAMP boundary.");
    told(tell, "  records of fedramp-east", &agent.ask(&fedramp()).await?);
    if !waiting.is_empty() {
        tell("The agent waits. Decide in the console; it goes on with whatever you say.");
    }
    while let Some(ended) = waiting.join_next().await {
        // A wait that was torn down has nothing to tell.
        let Ok((what, answer)) = ended else { continue };
        told(tell, &format!("  {what}"), &answer?);
    }
    tell("The agent is done for tonight. Paste the commands above to act in its place.");
    Ok(())
}

async fn place(
    agent: &Agent,
    tell: &mut (dyn FnMut(&str) + Send),
    what: &str,
    ask: &Ask,
) -> Result<Option<Held>, DemoError> {
    tell(&format!("It asks: {} {}", ask.method, ask.path));
    let answer = agent.ask(ask).await?;
    let Some(held) = held(&answer) else {
        told(tell, &format!("  {what}"), &answer);
        return Ok(None);
    };
    let sentence = held.told.get("sentence").and_then(Value::as_str).unwrap_or(what);
    tell(&format!("  held: {sentence}"));
    for gate in held.told.get("waits_for").and_then(Value::as_array).into_iter().flatten() {
        let text = |member: &str| gate.get(member).and_then(Value::as_str).unwrap_or_default();
        tell(&format!("  waits for {}, because {}", text("approvers"), text("reason")));
    }
    if let Some(link) = held.told.get("link").and_then(Value::as_str) {
        tell(&format!("  {link}"));
    }
    Ok(Some(held))
}

/// One line on how a request ended.
fn told(tell: &mut (dyn FnMut(&str) + Send), what: &str, answer: &Answer) {
    let line = match (answer.status, answer.word("code").as_str()) {
        (200..300, _) => format!("{what}: done, {} bytes", answer.body.len()),
        (_, "rejected") => format!("{what}: rejected. “{}” The agent goes on without it.", reason(answer)),
        (_, "lapsed") => format!("{what}: nobody decided in time, so it did not run."),
        (_, "revoked") => format!("{what}: the approval was taken back, so it did not run."),
        (_, "") => format!("{what}: {}", answer.told()),
        (_, code) => format!("{what}: refused ({code}). {}", reason(answer)),
    };
    tell(&line);
}

/// Why, in the words of whoever refused.
pub(super) fn reason(answer: &Answer) -> String {
    let reason = answer.word("reason");
    if reason.is_empty() { answer.word("detail") } else { reason }
}
