//! Chromium's service workers, over its own `DevTools` protocol.
#![expect(
    clippy::indexing_slicing,
    reason = "what a browser's answer lacks is `null`, and its questions are objects"
)]

use crate::E2eError;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::path::Path;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, Utf8Bytes},
};

struct Devtools {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    asked: u64,
}

/// Runs a script in the worker of an origin.
pub(super) async fn run(profile: &Path, origin: &str, script: &str) -> Result<Value, E2eError> {
    // The port and the path, each on a line of its own.
    let said = std::fs::read_to_string(profile.join("DevToolsActivePort"))?;
    let (port, path) = said.trim().split_once('\n').ok_or_else(|| failed("no DevTools"))?;
    let (socket, _) = connect_async(format!("ws://127.0.0.1:{port}{path}")).await.map_err(failed)?;
    let mut devtools = Devtools { socket, asked: 0 };
    let worker = loop {
        let all = devtools.ask("Target.getTargets", &json!({}), None).await?;
        let targets = all["targetInfos"].as_array().cloned().unwrap_or_default();
        let ours = |target: &&Value| {
            target["type"] == "service_worker"
                && target["url"].as_str().is_some_and(|url| url.starts_with(origin))
        };
        if let Some(worker) = targets.iter().find(ours) {
            break worker["targetId"].clone();
        }
        // It sleeps when nothing comes: whoever calls has just sent it something.
        tokio::task::yield_now().await;
    };
    let attached = json!({"targetId": worker, "flatten": true});
    let attached = devtools.ask("Target.attachToTarget", &attached, None).await?;
    let session = attached["sessionId"].as_str().map(str::to_owned);
    let run = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
    let ran = devtools.ask("Runtime.evaluate", &run, session.as_deref()).await?;
    match ran.get("exceptionDetails") {
        Some(thrown) => Err(failed(thrown)),
        None => Ok(ran["result"]["value"].clone()),
    }
}

impl Devtools {
    async fn ask(
        &mut self,
        method: &str,
        parameters: &Value,
        session: Option<&str>,
    ) -> Result<Value, E2eError> {
        self.asked += 1;
        let mut asked = json!({"id": self.asked, "method": method, "params": parameters});
        if let Some(session) = session {
            asked["sessionId"] = session.into();
        }
        self.socket.send(Message::Text(Utf8Bytes::from(asked.to_string()))).await.map_err(failed)?;
        while let Some(said) = self.socket.next().await {
            let Message::Text(text) = said.map_err(failed)? else { continue };
            let said: Value = serde_json::from_str(&text).map_err(failed)?;
            if said["id"] == self.asked {
                return said.get("result").cloned().ok_or_else(|| failed(&said["error"]));
            }
        }
        Err(failed("the browser is gone"))
    }
}

fn failed(why: impl std::fmt::Display) -> E2eError {
    E2eError::Browser(why.to_string())
}
