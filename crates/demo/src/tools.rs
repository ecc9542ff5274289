//! The cloud's tools for agents: an MCP server of the smallest kind (Streamable HTTP, 2025-11-25), behind the same
//! credential as the rest of the API. It knows nothing of Countersign.

use crate::cloud::Memory;
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};

/// Restart a service. Held for sre.
pub(crate) const RESTART: &str = "restart_service";
/// Look at a service. Permitted.
pub(crate) const STATUS: &str = "service_status";

/// The target's section of the configuration; the credential is in the file `cloud.token`.
pub fn section(cloud: &str, listen: SocketAddr) -> String {
    let (target, environment) = (crate::policy::TOOLS, crate::policy::ENVIRONMENT);
    let profile = crate::policy::CREDENTIAL_PROFILE;
    format!(
        r#"
[[mcp]]
name = "{target}"
environment = "{environment}"
listen = "{listen}"
upstream = "{cloud}/mcp"
credential = {{ profile = "{profile}", value_from = "file:cloud.token" }}

[[mcp.tools]]
name = "{STATUS}"
class = "read"

[[mcp.tools]]
name = "{RESTART}"
class = "execute"
sentence = "Restart the service {{service}}"
arguments = {{ service = "text" }}
"#
    )
}

fn tools() -> Value {
    let service = json!({
        "type": "object", "properties": {"service": {"type": "string", "description": "Such as checkout."}},
        "required": ["service"], "additionalProperties": false,
    });
    json!({"tools": [
        {"name": STATUS, "description": "Says how a service is doing.", "inputSchema": service,
            "annotations": {"readOnlyHint": true}},
        {"name": RESTART, "description": "Restarts a service; requests under way are lost.", "inputSchema": service,
            "annotations": {"destructiveHint": true}},
    ]})
}

/// Answers one message.
pub(crate) async fn answer(State(memory): State<Arc<Memory>>, Json(message): Json<Value>) -> Response {
    let Some(id) = message.get("id") else { return StatusCode::ACCEPTED.into_response() };
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let service = text("/params/arguments/service");
    let said = |text: String| json!({"content": [{"type": "text", "text": text}]});
    let result = match (text("/method"), text("/params/name")) {
        ("initialize", _) => json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "cloud", "version": "1"},
        }),
        ("ping", _) => json!({}),
        ("tools/list", _) => tools(),
        ("tools/call", STATUS) => said(format!("{service}: degraded, 4 errors in 100 requests")),
        ("tools/call", RESTART) => {
            memory.happened("restartByTool", service);
            said(format!("{service} restarted"))
        }
        _ => {
            let error = json!({"code": -32601, "message": "there is no such method or tool"});
            return Json(json!({"jsonrpc": "2.0", "id": id, "error": error})).into_response();
        }
    };
    Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
}
