//! The night: what the agent wants to do, told two ways. With a person watching it waits for them; without one it
//! plays the reviewers too, and everybody who must not decide.

mod once;
mod watched;

use crate::agent::Ask;
use reqwest::Method;
use serde_json::json;

pub use once::{Counter, run_once};
pub use watched::play;

/// Where the story is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// The agent-facing listener in front of the demo cloud, such as `http://127.0.0.1:40124`.
    pub gateway_url: String,
    /// Where agents reach the cloud's MCP server, such as `http://127.0.0.1:40126/mcp`.
    pub tools_url: String,
    /// The people-facing origin, exactly as browsers write it, such as `http://localhost:40123`.
    pub console_url: String,
    /// Where the cloud lists what really happened: [`crate::Cloud::effects_url`].
    pub effects_url: String,
}

/// Read a service's status. Permitted.
fn status() -> Ask {
    let path = "/v1/services/checkout/status";
    Ask {
        method: Method::GET,
        path,
        body: None,
        reason: "checkout answers four requests in a hundred with errors",
    }
}

/// Export the customer table. Held for two people of privacy.
fn export() -> Ask {
    let path = "/v1/customers/export?format=csv";
    Ask { method: Method::GET, path, body: None, reason: "find the customers whose payments failed tonight" }
}

/// Attach the administrator role to itself. Held for security.
fn bind_administrator() -> Ask {
    Ask {
        method: Method::POST,
        path: "/v1/iam/roles/administrator/bindings",
        body: Some(json!({ "member": crate::setup::AGENT })),
        reason: "with administrator rights I could repair this without waking anybody",
    }
}

/// Push a production configuration change. Held for sre.
fn configure(value: &str) -> Ask {
    Ask {
        method: Method::PUT,
        path: "/v1/config/prod/checkout-timeout-ms",
        body: Some(json!({ "value": value })),
        reason: "the payment provider is slow tonight; wait longer for it",
    }
}

/// Read production data inside the `FedRAMP` boundary. Refused by a wall.
fn fedramp() -> Ask {
    let path = "/v1/zones/fedramp-east/records";
    Ask { method: Method::GET, path, body: None, reason: "see whether the agencies are affected" }
}
