//! The part of the story that is told in MCP: tools that nobody has looked at are not called, a look is permitted, and a
//! restart waits for somebody on the stream it was asked on.

use super::{Play, json};
use crate::{
    DemoError, http,
    person::Strength,
    policy,
    report::Log,
    tools::{RESTART, STATUS},
};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

const DOOR: &str = "the cloud's MCP server";

/// A session of the agent's.
struct Session {
    id: String,
    next: u64,
}

impl Play {
    pub(super) async fn tools(&mut self, log: &mut Log) -> Result<(), DemoError> {
        let mut session = self.session().await?;
        let told = self.call(&mut session, STATUS).await?;
        let ok = told.contains("nobody has accepted it") && self.count("restartByTool").await? == 0;
        let promised = "a tool is not called before somebody has accepted what its server says it is";
        log.step("mcp-tool-waits-for-people", promised, first_line(&told), ok, json!({ "told": told }));
        let accepted = self.accept().await?;
        let told = self.call(&mut session, STATUS).await?;
        let promised = "once an administrator has accepted it, a tool that reads is permitted";
        let ok = accepted == 2 && told.starts_with("checkout: degraded");
        log.step("mcp-read-is-permitted", promised, &*told, ok, json!({ "accepted": accepted }));
        self.restart(log, &mut session).await
    }

    async fn restart(&mut self, log: &mut Log, session: &mut Session) -> Result<(), DemoError> {
        let mut answer = self.ask(session, RESTART).await?;
        let approval = held(&mut answer).await?;
        let ran = self.count("restartByTool").await?;
        let promised =
            "a tool that restarts a service waits for somebody of sre, on the stream it was asked on";
        let observed = format!("held as {approval}");
        log.step(
            "mcp-restart-is-held",
            promised,
            observed,
            ran == 0,
            json!({ "approval": approval, "ran": ran }),
        );
        let vote = self.ana.vote(&approval, "approve", Strength::Session, None).await?;
        // However often it says that it waits.
        let rest = answer.text().await.map_err(unreachable)?;
        let (ran, told) = (self.count("restartByTool").await?, text(&rest));
        let promised = "it runs once, and its result ends that stream";
        let ok = ran == 1 && told == "checkout restarted";
        log.step("mcp-restart-runs", promised, &*told, ok, json!({ "vote": vote.status, "ran": ran }));
        Ok(())
    }

    fn post(&self, session: Option<&str>, message: &Value) -> RequestBuilder {
        let request = self.client.post(&self.doors.tools_url).bearer_auth(&self.token).json(message);
        let request = request.header("accept", "application/json, text/event-stream");
        match session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
    }

    async fn session(&self) -> Result<Session, DemoError> {
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "night-ops", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello});
        let opened = http::send(DOOR, self.post(None, &hello)).await?.success(DOOR)?;
        let missing = || DemoError::Contract { door: DOOR.into(), missing: "a session".into() };
        let id = opened.header("mcp-session-id").ok_or_else(missing)?.to_owned();
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        http::send(DOOR, self.post(Some(&id), &ready)).await?.success(DOOR)?;
        Ok(Session { id, next: 2 })
    }

    /// Calls a tool about the service that is in trouble.
    async fn ask(&self, session: &mut Session, tool: &str) -> Result<Response, DemoError> {
        session.next += 1;
        let params = json!({"name": tool, "arguments": {"service": "checkout"}});
        let message = json!({"jsonrpc": "2.0", "id": session.next, "method": "tools/call", "params": params});
        self.post(Some(&session.id), &message).send().await.map_err(unreachable)
    }

    /// The same, and the text of its result.
    async fn call(&self, session: &mut Session, tool: &str) -> Result<String, DemoError> {
        let whole = self.ask(session, tool).await?.text().await.map_err(unreachable)?;
        Ok(text(&whole))
    }

    /// Has the administrator who made the agent look at the server's tools and accept each: how many there were.
    async fn accept(&mut self) -> Result<usize, DemoError> {
        let at = format!("targets/{}/tools", policy::TOOLS);
        let found = self.carl.write(&format!("{at}/look"), &Value::Null).await?.success(DOOR)?.json();
        let tools = found.as_array().cloned().unwrap_or_default();
        for tool in &tools {
            let definition = tool.pointer("/waiting/0/definition").cloned().unwrap_or_default();
            let decide = json!({ "definition": definition, "verdict": "accept" });
            self.carl.write(&format!("{at}/decide"), &decide).await?.success(DOOR)?;
        }
        Ok(tools.len())
    }
}

fn unreachable(source: reqwest::Error) -> DemoError {
    DemoError::Unreachable { door: DOOR.into(), source }
}

/// Reads an answer on until it says which approval it waits for; nothing when it ends before.
async fn held(answer: &mut Response) -> Result<String, DemoError> {
    let mut read = String::new();
    loop {
        let line = read.split_once("held as ").and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((approval, _)) = line {
            return Ok(approval.to_owned());
        }
        let Some(piece) = answer.chunk().await.map_err(unreachable)? else { return Ok(String::new()) };
        read.push_str(&String::from_utf8_lossy(&piece));
    }
}

/// The text of the result in an answer, whether it came by itself or at the end of a stream.
fn text(answer: &str) -> String {
    let data = answer.lines().rev().find_map(|line| {
        line.strip_prefix("data: ").or_else(|| Some(line).filter(|line| line.starts_with('{')))
    });
    let message: Value = serde_json::from_str(data.unwrap_or_default()).unwrap_or_default();
    message.pointer("/result/content/0/text").and_then(Value::as_str).unwrap_or(answer).to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
