//! Whoever does not mean well: other hosts and origins, other agents' sessions, messages with two readings.

use crate::stage::Stage;
use reqwest::{
    Client, Method, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

const OPEN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"sampling":{},"elicitation":{}},"clientInfo":{"name":"x","version":"1"}}}"#;
pub(crate) const CALL: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"count_rows","arguments":{"table":"x"}}}"#;

/// A client that sends exactly what it is told.
pub(crate) struct Raw<'s> {
    stage: &'s Stage,
    client: Client,
    session: String,
}

type Change<'c> = (&'c str, Option<&'c str>);

impl Raw<'_> {
    /// The agent's own.
    pub(crate) fn token(&self) -> &str {
        &self.stage.token
    }

    /// Sends a message; each change appends a header, or takes it out when there is no value.
    pub(crate) async fn send(
        &self,
        method: Method,
        token: &str,
        body: impl Into<reqwest::Body>,
        changes: &[Change<'_>],
    ) -> Response {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {token}");
        for (name, value) in [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-session-id", &self.session),
        ] {
            headers.insert(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        for (name, value) in changes {
            let name = HeaderName::try_from(*name).unwrap();
            match value {
                Some(value) => _ = headers.append(name, HeaderValue::try_from(*value).unwrap()),
                None => _ = headers.remove(name),
            }
        }
        let request = self.client.request(method, &self.stage.url).headers(headers).body(body);
        request.send().await.unwrap()
    }

    pub(crate) async fn status(&self, body: &str, changes: &[Change<'_>]) -> u16 {
        self.send(Method::POST, &self.stage.token, body.to_owned(), changes).await.status().as_u16()
    }

    /// The code of the error a message is answered with; `None` when it is none.
    async fn code(&self, body: &str) -> Option<i64> {
        let answer = self.send(Method::POST, &self.stage.token, body.to_owned(), &[]).await;
        let answer: Value = answer.json().await.unwrap();
        answer.pointer("/error/code").and_then(Value::as_i64)
    }
}

pub(crate) async fn raw(stage: &Stage) -> Raw<'_> {
    let client = Client::builder().no_proxy().build().unwrap();
    let mut raw = Raw { stage, client, session: "none".into() };
    let opened = raw.send(Method::POST, &stage.token, OPEN, &[("mcp-session-id", None)]).await;
    raw.session = opened.headers().get("mcp-session-id").unwrap().to_str().unwrap().to_owned();
    let noted = raw
        .send(Method::POST, &stage.token, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, &[])
        .await;
    assert_eq!(noted.status().as_u16(), 202);
    raw
}

#[tokio::test(flavor = "multi_thread")]
#[rustfmt::skip]
async fn nothing_with_two_readings_reaches_the_server() {
    let stage = Stage::open("300ms").await;
    let raw = raw(&stage).await;
    for (what, changes, want) in [
        ("as it should be", vec![], 200),
        ("another port of this machine", vec![("origin", Some("http://127.0.0.1"))], 403),
        ("a page elsewhere", vec![("origin", Some("http://attacker.example"))], 403),
        ("a rebound name", vec![("host", Some("attacker.example"))], 403),
        ("no token", vec![("authorization", None)], 401),
        ("two tokens", vec![("authorization", Some("Bearer x"))], 401),
        ("another type", vec![("content-type", None), ("content-type", Some("text/plain"))], 415),
        ("two types", vec![("content-type", Some("application/json"))], 400),
        ("packed", vec![("content-encoding", Some("gzip"))], 415),
        ("one form of answer", vec![("accept", None), ("accept", Some("application/json"))], 406),
        ("no session", vec![("mcp-session-id", None)], 400),
        ("a made-up session", vec![("mcp-session-id", None), ("mcp-session-id", Some("1"))], 404),
        ("two sessions", vec![("mcp-session-id", Some("1"))], 400),
        ("a later version", vec![("mcp-protocol-version", Some("2026-07-28"))], 400),
        ("not the session's version", vec![("mcp-protocol-version", Some("2025-06-18"))], 400),
    ] {
        assert_eq!(raw.status(CALL, &changes).await, want, "{what}");
    }
    let deep = CALL.replace(r#"{"table":"x"}"#, &format!(r#"{{"table":{}{}}}"#, "[".repeat(500), "]".repeat(500)));
    let large = CALL.replace(r#""x""#, &format!("\"{}\"", "x".repeat(2 << 20)));
    let id = CALL.replace(r#""id":2"#, &format!("\"id\":\"{}\"", "9".repeat(4096)));
    for (what, body, want) in [
        ("a batch", format!("[{CALL}]"), 400),
        ("a second document", format!("{CALL}\n{CALL}"), 400),
        ("a method twice", CALL.replace(r#""method""#, r#""method":"ping","method""#), 400),
        ("an argument twice", CALL.replace(r#""table":"x""#, r#""table":"x","table":"y""#), 400),
        ("a huge id", id, 400),
        ("too deep", deep, 400),
        ("too large", large, 413),
        ("an answer to nothing", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), 400),
    ] {
        assert_eq!(raw.status(&body, &[]).await, want, "{what}");
    }
    for (what, body, want) in [
        ("a name with escapes", CALL.replace(r#""name":"#, r#""n\u0061me":"#), -32602),
        ("a hidden character", CALL.replace("count_rows", "count_rows\\u200b"), -32602),
        ("another side's method", CALL.replace("tools/call", "sampling/createMessage"), -32601),
        ("an unknown method", CALL.replace("tools/call", "tools/call2"), -32601),
    ] {
        assert_eq!(raw.code(&body).await, Some(want), "{what}");
    }
    let put = raw.send(Method::PUT, &stage.token, "", &[]).await;
    assert_eq!(put.status().as_u16(), 405);
    // Of all this only the first call went on, and the servers' capabilities were none.
    let bodies: Vec<String> = stage.log().iter().filter_map(|line| Some(line.get("body")?.as_str()?.to_owned())).collect();
    assert_eq!(bodies.iter().filter(|body| body.contains("tools/call")).count(), 1, "{bodies:?}");
    assert!(bodies.iter().any(|body| body.contains(r#""capabilities":{}"#)) && !bodies.concat().contains("sampling"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_a_call_and_its_answer_stay_what_they_are() {
    let stage = Stage::open("300ms").await;
    let raw = raw(&stage).await;
    let params = r#"{ "arguments" : {"n":12345678901234567890123, "table":"\u0078","f":1.50e1 }, "later":null,"name":"count_rows","_meta":{"k":  1}}"#;
    let call = format!(r#"{{"params":{params},"method":"tools/call","jsonrpc":"2.0","id":"\u0061"}}"#);
    let answer = raw.send(Method::POST, &stage.token, call, &[]).await.text().await.unwrap();
    assert!(answer.starts_with(r#"{"jsonrpc":"2.0","id":"\u0061","result":{"#), "{answer}");
    let sent = stage
        .log()
        .iter()
        .filter_map(|line| Some(line.get("body")?.as_str()?.to_owned()))
        .next_back()
        .unwrap();
    assert!(sent.ends_with(&format!(r#""method":"tools/call","params":{params}}}"#)), "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_own_agents_alone() {
    let stage = Stage::open("300ms").await;
    let raw = raw(&stage).await;
    for method in [Method::POST, Method::DELETE] {
        let answer = raw.send(method, &stage.rogue, CALL, &[]).await;
        assert_eq!(answer.status().as_u16(), 404);
    }
    assert_eq!(raw.status(CALL, &[]).await, 200);
    let ended = raw.send(Method::DELETE, &stage.token, "", &[]).await;
    assert_eq!(ended.status().as_u16(), 204);
    assert_eq!(raw.status(CALL, &[]).await, 404);
}
