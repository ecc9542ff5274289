//! Every method of the protocol, and what becomes of it. What is not listed is refused.

use crate::asks::NOBODY;

/// What becomes of a request of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Opens a session, here and at the server: an action.
    Open,
    /// Answered here; the server never hears of it.
    Own,
    /// A tool call: an action of its own name.
    Call,
    /// The list of tools, with the gateway's own added: an action of this name.
    Tools(&'static str),
    /// Passed on as it is: an action of this name.
    Ask(&'static str),
    /// About a task of its own, which is the gateway's: answered here.
    Task(TaskAsk),
    /// Begins to hear of a resource's changes, or ends that: an action of this name.
    Subscribe(&'static str),
    /// Hears of changes for as long as the answer goes on (later era): an action of this name where a server of that era is asked.
    Listen(&'static str),
    /// What the server is and has: an action where the server is asked, and the gateway's own words in part.
    Discover,
    /// Refused, for this reason.
    Refused(&'static str),
}

/// What an agent wants of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskAsk {
    Get,
    /// Of the earlier era: waits for what comes of it.
    Result,
    List,
    Cancel,
    /// Of the later era: answers what a server asks in its task; each answer is an action.
    Update,
}

/// What becomes of a notification of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The session is used from now on; told to the server.
    Initialized,
    /// A waiting call is withdrawn, a running one cancelled at the server.
    Cancelled,
    /// Taken and dropped, for this reason.
    Dropped(&'static str),
}

/// What becomes of a message a server sends by itself, in the answer to a request or on a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromServer {
    /// Passed to the agent as it is.
    Passed,
    /// The same, where the agent has subscribed to the resource.
    Subscribed,
    /// Answered here: the agent never hears of it.
    Answered,
    /// Something is asked of the agent: passed on where the configuration says so and the agent's client takes it (`asks.rs`),
    /// else refused.
    Asks,
    /// The agent is not asked any more: told where it was asked.
    TakesBack,
    /// A page that the agent's user was asked to open is done with: told where such pages are passed on.
    Elicited,
    /// Refused towards the server, for this reason: the agent never hears of it.
    Refused(&'static str),
    /// Dropped, for this reason.
    Dropped(&'static str),
}

pub(crate) const OTHER_ERA: &str = "the protocol version that was agreed on does not have it";

/// Requests that only the earlier era has.
const EARLIER: [&str; 7] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/result",
    "tasks/list",
];
/// Requests that only the later era has.
const LATER: [&str; 3] = ["server/discover", "subscriptions/listen", "tasks/update"];

/// The requests of agents.
pub const REQUESTS: [(&str, Rule); 22] = [
    ("initialize", Rule::Open),
    ("ping", Rule::Own),
    ("tools/list", Rule::Tools("mcp.list")),
    ("tools/call", Rule::Call),
    ("resources/list", Rule::Ask("mcp.list")),
    ("resources/templates/list", Rule::Ask("mcp.list")),
    ("resources/read", Rule::Ask("mcp.read")),
    ("resources/subscribe", Rule::Subscribe("mcp.subscribe")),
    ("resources/unsubscribe", Rule::Subscribe("mcp.subscribe")),
    ("prompts/list", Rule::Ask("mcp.list")),
    ("prompts/get", Rule::Ask("mcp.read")),
    ("completion/complete", Rule::Ask("mcp.complete")),
    ("logging/setLevel", Rule::Ask("mcp.logging")),
    ("tasks/get", Rule::Task(TaskAsk::Get)),
    ("tasks/result", Rule::Task(TaskAsk::Result)),
    ("tasks/list", Rule::Task(TaskAsk::List)),
    ("tasks/cancel", Rule::Task(TaskAsk::Cancel)),
    ("tasks/update", Rule::Task(TaskAsk::Update)),
    ("server/discover", Rule::Discover),
    ("subscriptions/listen", Rule::Listen("mcp.subscribe")),
    ("sampling/createMessage", Rule::Refused("only servers ask for it")),
    ("elicitation/create", Rule::Refused("only servers ask for it")),
];

/// The notifications of agents.
pub const NOTES: [(&str, Note); 5] = [
    ("notifications/initialized", Note::Initialized),
    ("notifications/cancelled", Note::Cancelled),
    ("notifications/progress", Note::Dropped("the gateway asks agents for nothing that could progress")),
    ("notifications/roots/list_changed", Note::Dropped("servers are told of roots when they ask")),
    ("notifications/tasks/status", Note::Dropped("the gateway gives agents no tasks to do")),
];

/// What servers send by themselves.
pub const FROM_SERVERS: [(&str, FromServer); 15] = [
    ("notifications/progress", FromServer::Passed),
    ("notifications/message", FromServer::Passed),
    ("notifications/tools/list_changed", FromServer::Passed),
    ("notifications/prompts/list_changed", FromServer::Passed),
    ("notifications/resources/list_changed", FromServer::Passed),
    ("notifications/resources/updated", FromServer::Subscribed),
    ("notifications/cancelled", FromServer::TakesBack),
    (
        "notifications/tasks/status",
        FromServer::Dropped("servers of that era are asked for no tasks: those here are the gateway's"),
    ),
    ("notifications/tasks", FromServer::Dropped("the gateway asks servers how their tasks stand")),
    ("notifications/subscriptions/acknowledged", FromServer::Dropped("the gateway acknowledges itself")),
    ("notifications/elicitation/complete", FromServer::Elicited),
    ("ping", FromServer::Answered),
    ("sampling/createMessage", FromServer::Asks),
    ("elicitation/create", FromServer::Asks),
    ("roots/list", FromServer::Asks),
];

/// What the gateway itself answers a server; `None` where that is for its agent to hear. `id` is JSON.
pub(crate) fn own_answer(method: &str, id: &str) -> Option<String> {
    match from_server(method) {
        FromServer::Answered => Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)),
        FromServer::Asks => Some(refusal(id, NOBODY)),
        FromServer::Refused(why) | FromServer::Dropped(why) => Some(refusal(id, why)),
        FromServer::Passed | FromServer::Subscribed | FromServer::TakesBack | FromServer::Elicited => None,
    }
}

/// What a server is told whose question does not go on, for this reason.
pub(crate) fn refusal(id: &str, why: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"{why}"}}}}"#)
}

/// What becomes of a request of the earlier era.
pub fn request(method: &str) -> Rule {
    if LATER.contains(&method) {
        return Rule::Refused(OTHER_ERA);
    }
    find(&REQUESTS, method).unwrap_or(Rule::Refused("there is no such method"))
}

/// What becomes of a request of the later era (2026-07-28 on), which opens no session.
pub fn later_request(method: &str) -> Rule {
    if EARLIER.contains(&method) {
        return Rule::Refused(OTHER_ERA);
    }
    find(&REQUESTS, method).unwrap_or(Rule::Refused("there is no such method"))
}

/// What becomes of an agent's notification.
pub fn note(method: &str) -> Note {
    find(&NOTES, method).unwrap_or(Note::Dropped("there is no such notification"))
}

/// What becomes of a message a server sends by itself.
pub fn from_server(method: &str) -> FromServer {
    find(&FROM_SERVERS, method).unwrap_or(FromServer::Refused("there is no such method"))
}

fn find<T: Copy>(table: &[(&str, T)], method: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == method).map(|(_, rule)| *rule)
}

/// The protocol versions that are spoken, oldest first.
pub const VERSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// The newest of them.
pub const NEWEST: &str = "2025-11-25";

#[cfg(test)]
mod tests {
    use super::*;

    /// Every method of the schemas 2025-03-26 to 2026-07-28, so that one that is missing above is noticed.
    const SCHEMA: [&str; 36] = [
        "initialize",
        "ping",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
        "tasks/update",
        "server/discover",
        "subscriptions/listen",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
        "notifications/message",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tasks/status",
        "notifications/tasks",
        "notifications/elicitation/complete",
        "notifications/subscriptions/acknowledged",
    ];

    #[test]
    fn every_method_has_a_rule_on_the_side_that_may_send_it() {
        for method in SCHEMA {
            let listed = find(&REQUESTS, method).is_some()
                || find(&NOTES, method).is_some()
                || find(&FROM_SERVERS, method).is_some();
            assert!(listed, "{method}");
        }
        let named = REQUESTS.iter().map(|(name, _)| name).chain(NOTES.iter().map(|(name, _)| name));
        for name in named.chain(FROM_SERVERS.iter().map(|(name, _)| name)) {
            assert!(SCHEMA.contains(name), "{name} is in no schema");
        }
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        assert!(matches!(request("tools/Call"), Rule::Refused(_)));
        assert!(matches!(note("notifications/x"), Note::Dropped(_)));
        assert!(matches!(from_server("x/y"), FromServer::Refused(_)));
    }
}
