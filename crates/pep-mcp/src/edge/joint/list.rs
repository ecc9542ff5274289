//! The tools of all servers as one list. A server that does not answer takes only its own away, and the list says so: for
//! programs in `_meta`, for models in the description of a tool of the endpoint's own.

use super::{Asked, BETWEEN, Era, Joint, SERVERS};
use crate::{
    approvals, call,
    edge::{AHEAD, Door, Ended},
    members::{self, Members},
    method::NEWEST,
    reply,
    session::Session,
    stream::Body,
    tools::{Listing, MOST_PAGES},
    upstream::exchange::{Answer, Form},
};
use countersign_core::{Requester, TargetName, visible};
use countersign_engine::{Error, Reply, flow};
use futures_util::future::join_all;
use http::Response;
use serde_json::{Value, json, value::RawValue};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// How long a list waits for a server: less than the shortest time that clients are known to give a request.
const WITHIN: Duration = Duration::from_secs(15);

/// What a server came to: its tools as JSON, or why there are none.
type Found = (TargetName, Result<Vec<String>, String>);

impl Joint {
    /// Every tool the agent may see, on one page.
    pub(super) async fn list(&self, asked: Asked<'_>) -> Result<Response<Body>, Ended> {
        let cursor = asked.params.and_then(Members::read).and_then(|params| params.find("cursor"));
        if cursor.is_some_and(|cursor| cursor.get() != "null") {
            return self.entrance.invalid(asked.id, "the list has one page").await;
        }
        let found = self.found(&asked.requester, &asked.era).await;
        let away: Vec<Value> = away(&found).map(|(name, why)| json!({"server": name, "why": why})).collect();
        let mut shown: Vec<String> = Vec::new();
        for (name, tools) in &found {
            shown.extend(tools.iter().flatten().filter_map(|tool| renamed(name, tool)));
        }
        shown.push(approvals::DEFINITIONS.to_owned());
        shown.push(own(&found));
        let meta = json!({"countersign/not_shown": away});
        let told = format!(r#"{{"tools":[{}],"_meta":{meta}}}"#, shown.join(","));
        Ok(asked.told(reply::result(asked.id.get(), &told).into()))
    }

    /// Which servers there are and which of them answer, for a model.
    pub(super) async fn servers(&self, asked: Asked<'_>) -> Result<Response<Body>, Ended> {
        let found = self.found(&asked.requester, &asked.era).await;
        let line = |(name, tools): &Found| match tools {
            Ok(tools) => format!("{name}: answers, {} of its tools are shown", tools.len()),
            Err(why) => format!("{name}: none of its tools are shown: {why}"),
        };
        let lines: Vec<String> = found.iter().map(line).collect();
        let told = json!({"content": [{"type": "text", "text": visible::told(&lines.join("\n"))}], "isError": false});
        Ok(asked.told(reply::result(asked.id.get(), &told.to_string()).into()))
    }

    async fn found(&self, requester: &Requester, era: &Era) -> Vec<Found> {
        let each = self.doors.iter().enumerate().map(|(at, door)| async move {
            let name = door.target.surroundings().target.clone();
            let tools = timeout(WITHIN, self.tools_of(at, requester, era)).await;
            let tools = tools.unwrap_or_else(|_| Err("it did not answer in time".into()));
            if let Err(why) = &tools {
                tracing::warn!(server = %name, %why, "the tools of a server are not shown beside those of others");
            }
            (name, tools)
        });
        join_all(each).await
    }

    async fn tools_of(&self, at: usize, requester: &Requester, era: &Era) -> Result<Vec<String>, String> {
        loop {
            let (door, session) = self.part(at, requester, era).await.map_err(|reply| why(&reply))?;
            let tasks = matches!(era, Era::Earlier(own) if own.version == NEWEST);
            let tools = door.all_tools(requester, &session, tasks).await;
            // A session that the server has forgotten meanwhile is opened anew, each time it is: the caller's time is bounded.
            if tools.is_ok() || !session.is_gone() {
                return tools;
            }
        }
    }
}

impl Door {
    /// All tools that this agent may see, each as JSON in the server's own words.
    async fn all_tools(
        self: &Arc<Self>,
        requester: &Requester,
        session: &Arc<Session>,
        tasks: bool,
    ) -> Result<Vec<String>, String> {
        // What the agent sees from here on is what its calls are bound to.
        session.forget_tools();
        let listing = Listing { door: Arc::clone(self), requester: requester.clone(), tasks };
        let (mut params, mut all) = ("{}".to_owned(), Vec::new());
        for _ in 0..MOST_PAGES {
            let page = self.page_of_tools(requester, session, params).await?;
            let (tools, next) = listing.page(&page).ok_or("its list of tools cannot be read")?;
            all.extend(tools);
            let Some(next) = next else { return Ok(all) };
            params = format!(r#"{{"cursor":{next}}}"#);
        }
        Err("its list of tools is longer than is read".into())
    }

    /// One page as an action like any other.
    async fn page_of_tools(
        &self,
        requester: &Requester,
        session: &Arc<Session>,
        params: String,
    ) -> Result<String, String> {
        const METHOD: &str = "tools/list";
        let place = session.enter_any();
        let (events, _unheard) = mpsc::channel(AHEAD);
        let exchange = self.exchange_in(session, &place.under_way, None, events, None);
        let understood = self.target.classifier.other("mcp.list", METHOD, None);
        let prepared = call::Prepared::of(params);
        let mut asked = call::asked(&self.target, requester.clone(), METHOD, None, understood, prepared);
        // One that waits for people is not shown until they have decided; what is repeated attaches.
        asked.patience = Duration::ZERO;
        let reply = flow::handle(&self.gate, asked, exchange).await;
        self.seen(session, &reply);
        let raw = match reply {
            Ok(Reply::Live(answer)) if answer.form == Form::Result => answer.raw.text().to_owned(),
            Ok(Reply::Kept(kept)) => {
                let body = kept.kept().body.clone().and_then(|body| String::from_utf8(body).ok());
                kept.done().await.map_err(|_| "the gateway could not go on")?;
                body.ok_or("its list was not kept")?
            }
            other => return Err(why(&other)),
        };
        self.book.listed(&raw).await;
        Ok(raw)
    }
}

/// Why a server's tools are not shown, in a few words.
fn why(reply: &Result<Reply<Answer>, Error>) -> String {
    match reply {
        Ok(Reply::Refused(refused)) => refused.refusal.reason.clone(),
        Ok(Reply::Pending(ticket)) => format!("that waits for people, under approval {}", ticket.approval),
        Ok(Reply::Live(_)) => "the server answered with an error".into(),
        Ok(Reply::Kept(_)) => "its list was not kept".into(),
        Err(_) => "the gateway could not go on".into(),
    }
}

fn away(found: &[Found]) -> impl Iterator<Item = (&TargetName, &String)> {
    found.iter().filter_map(|(name, tools)| Some((name, tools.as_ref().err()?)))
}

/// A tool under its server's name; every other byte of it stays.
fn renamed(server: &TargetName, tool: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(tool).ok()?;
    let members = Members::read(raw)?;
    let name = members::text(members.find("name")?)?;
    let name = Value::from(format!("{server}{BETWEEN}{name}")).to_string();
    Some(members.rewritten(|member, value| {
        Some(if member == "name" { name.clone() } else { value.get().to_owned() })
    }))
}

/// The endpoint's own tool, which says of which servers nothing is shown.
fn own(found: &[Found]) -> String {
    let away: Vec<String> = away(found).map(|(name, why)| format!("{name} ({why})")).collect();
    let now = if away.is_empty() {
        "All of them answered for this list.".to_owned()
    } else {
        format!("The tools of these are not in this list: {}. Ask for the list again later.", away.join("; "))
    };
    let description = visible::told(&format!(
        "Says which servers are behind this endpoint and which of them answer. {now}"
    ));
    json!({"name": SERVERS, "description": description, "inputSchema": {"type": "object", "additionalProperties": false}})
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_renamed_and_nothing_else_of_it_changes() {
        let server = TargetName::new("shop").unwrap();
        let tool =
            r#"{"description":"d 1.50","name":"count","inputSchema":{"b":1,"a":12345678901234567890123}}"#;
        assert_eq!(renamed(&server, tool).unwrap(), tool.replace("\"count\"", "\"shop__count\""));
    }
}
