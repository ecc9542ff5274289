//! The demo's policies and the words they may use. The files are what a newcomer reads first, so they explain
//! themselves.

/// File name and text of each policy file, in the order to read them.
pub const FILES: [(&str, &str); 4] = [
    ("10-agents.cedar", include_str!("../policy/10-agents.cedar")),
    (TOOLS_FILE, include_str!("../policy/15-tools.cedar")),
    ("20-walls.cedar", include_str!("../policy/20-walls.cedar")),
    ("30-gates.cedar", include_str!("../policy/30-gates.cedar")),
];

/// Which of them speaks of the MCP server alone.
pub const TOOLS_FILE: &str = "15-tools.cedar";

/// The groups people and agents may be in.
pub const GROUPS: [&str; 4] = [AGENTS, "privacy", "security", "sre"];

/// The group the agent is in.
pub const AGENTS: &str = "platform-agents";

/// The environments targets may be in.
pub const ENVIRONMENTS: [&str; 2] = ["prod", "staging"];

/// What resources may be labelled with.
pub const LABELS: [&str; 2] = ["fedramp", "pii"];

/// The name of the demo cloud as a target.
pub const TARGET: &str = "cloud";

/// The name of the shop's database as a target.
pub const SHOP: &str = "shop";

/// The name of the cloud's tools as a target.
pub const TOOLS: &str = "cloud-tools";

/// The environment they are in.
pub const ENVIRONMENT: &str = "prod";

/// The name of the credential the gateway uses at the demo cloud.
pub const CREDENTIAL_PROFILE: &str = "cloud-admin";
