//! Section by section, so that a mistake in one does not hide those of the others. Every unknown key and
//! every value that cannot be read are told of each section; a section with one of them is left out and never served.

use super::{Mistake, places::Places};
use crate::config::{ConsoleSection, File};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Every key there is, for naming the nearest to an unknown one.
const KEYS: &[&str] = &[
    "sign_in",
    "signals",
    "provider",
    "push_token_from",
    "poll_url",
    "poll_token_from",
    "poll_every",
    "label",
    "client_id",
    "client_secret_from",
    "scopes",
    "domains",
    "email_is_verified",
    "admits",
    "groups_claim",
    "acr",
    "amr",
    "max_age",
    "administrators",
    "scim_groups",
    "issuers",
    "issuer",
    "audiences",
    "certificates",
    "trust_domain",
    "clients",
    "keys_url",
    "keys_file",
    "algorithms",
    "clock_skew",
    "max_lifetime",
    "agents",
    "agent",
    "match",
    "owners",
    "clearances",
    "tags",
    "obtainable_by",
    "on_behalf_of",
    "people",
    "actors",
    "groups",
    "gateway",
    "console",
    "policy",
    "limits",
    "bodies",
    "in_memory",
    "memory",
    "disk",
    "http",
    "name",
    "data",
    "mark",
    "listen",
    "url",
    "path",
    "labels",
    "environments",
    "cooling_off",
    "changed_by",
    "attributes",
    "pending_per_principal",
    "keep",
    "retention",
    "run_for",
    "environment",
    "hosts",
    "upstream",
    "connect_to",
    "credential",
    "listener_tls",
    "upstream_tls",
    "hold_limit",
    "body_limit",
    "keep_limit",
    "drop_headers",
    "strip_headers",
    "operations",
    "openapi",
    "upgrades",
    "profile",
    "header",
    "value_from",
    "format",
    "certificate",
    "key",
    "ca",
    "connect",
    "response_head",
    "idle",
    "request_head",
    "connections",
    "method",
    "class",
    "sentence",
    "resources",
    "facts",
    "variants",
    "kind",
    "type",
    "pointer",
    "pointers",
    "query",
    "decode",
    "when",
    "head_size",
    "postgres",
    "databases",
    "user",
    "cleartext",
    "server_name",
    "plain",
    "transaction_hold_limit",
    "tables",
    "trusted_functions",
    "export_rows",
    "table",
    "columns",
    "login",
    "message",
    "agent_connections",
    "keepalive",
    "mcp",
    "origins",
    "message_limit",
    "answer_limit",
    "volatile_meta",
    "server_requests",
    "elicitation",
    "elicitation_url",
    "sampling",
    "roots",
    "sessions",
    "session_idle",
    "session_end",
    "proxies",
    "provider_again",
    "tools",
    "arguments",
    "mcp_endpoint",
    "targets",
    "channel",
    "app_id",
    "app_token_from",
    "people_of",
    "tenant",
    "conversation",
    "decides",
    "preapproves",
    "preapproved_in",
    "preapproved_types",
    "preapproved_for",
    "service",
    "openid",
    "routing_key_from",
    "severity",
    "api_key_from",
    "priority",
    "responders",
    "on_call",
    "schedule",
    "group",
    "every",
    "holds_for",
    "site",
    "project",
    "issue_type",
    "closed",
    "waiting",
    "approved",
    "rejected",
    "server",
    "port",
    "tls",
    "password_from",
    "from",
    "to",
    "reply_to",
    "services",
    "private_services",
    "contact",
    "secret_from",
    "previous_secret_from",
    "hears",
    "show",
    "time_limit",
    "give_up_after",
    "alone",
    "together_within",
    "most_each",
    "route",
    "gates",
    "classes",
    "channels",
    "escalate",
    "after",
    "remind",
    "urgency",
    "zone",
    "quiet",
    "digest_at",
    "digest_every",
];

/// Reads every section there is. Without a mistake the file is whole.
pub(super) fn read(mut table: Table, places: &Places<'_>, mistakes: &mut Vec<Mistake>) -> File {
    let mut file = File {
        gateway: one(&mut table, "gateway", places, mistakes),
        policy: one(&mut table, "policy", places, mistakes),
        people: one(&mut table, "people", places, mistakes),
        limits: one(&mut table, "limits", places, mistakes),
        bodies: one(&mut table, "bodies", places, mistakes),
        ..File::default()
    };
    let before = mistakes.len();
    file.console = one(&mut table, "console", places, mistakes);
    if mistakes.len() > before && file.console.is_none() {
        // Port 0 is nobody's: no second mistake follows from the first.
        let (listen, url) = (([127, 0, 0, 1], 0).into(), Some("http://localhost".into()));
        file.console = Some(ConsoleSection { listen, url, proxies: [].into() });
    }
    file.http = targets(&mut table, "http", places, mistakes);
    file.postgres = targets(&mut table, "postgres", places, mistakes);
    file.issuers = targets(&mut table, "issuers", places, mistakes);
    file.sign_in = targets(&mut table, "sign_in", places, mistakes);
    file.signals = targets(&mut table, "signals", places, mistakes);
    file.mcp = targets(&mut table, "mcp", places, mistakes);
    file.mcp_endpoint = targets(&mut table, "mcp_endpoint", places, mistakes);
    file.channel = targets(&mut table, "channel", places, mistakes);
    file.on_call = targets(&mut table, "on_call", places, mistakes);
    file.route = targets(&mut table, "route", places, mistakes);
    mistakes.extend(table.keys().map(|key| unknown_key(key)));
    file
}

/// Sections of one name, each with its number in the file.
fn targets<T: DeserializeOwned>(
    table: &mut Table,
    wire: &str,
    places: &Places<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(usize, T)> {
    let written = match table.remove(wire) {
        None => return Vec::new(),
        Some(Value::Array(written)) => written,
        Some(_) => {
            let hint = format!("write `[[{wire}]]` above each of them");
            mistakes.push(Mistake::new(wire, format!("`{wire}` is a list of sections"), hint));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (index, target) in written.into_iter().enumerate() {
        let name = target.get("name").and_then(Value::as_str).map(str::to_owned);
        let place = format!("{wire}.{}", name.unwrap_or_else(|| index.to_string()));
        let read = section(&place, Some(index), target, places, mistakes);
        found.extend(read.map(|target| (index, target)));
    }
    found
}

fn one<T: DeserializeOwned>(
    table: &mut Table,
    name: &str,
    places: &Places<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    table.remove(name).and_then(|value| section(name, None, value, places, mistakes))
}

fn section<T: DeserializeOwned>(
    place: &str,
    item: Option<usize>,
    mut value: Value,
    places: &Places<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let before = mistakes.len();
    // Keys whose values cannot be read, taken out so that the others are read.
    let mut taken: Vec<String> = Vec::new();
    loop {
        let mut unknown = Vec::new();
        let read: Result<T, toml::de::Error> = serde_ignored::deserialize(value.clone(), |key| {
            // An optional section on the way is written as `?`.
            unknown.push(key.to_string().replace("?.", ""));
        });
        let error = match read {
            Ok(read) => {
                let told = unknown.iter().map(|key| unknown_key(&format!("{place}.{key}")));
                mistakes.extend(told.map(|mistake| Mistake { item, ..mistake }));
                return taken.is_empty().then_some(read);
            }
            Err(error) => error.to_string(),
        };
        let (why, keys) = told(&error);
        let key = if keys.is_empty() { place.to_owned() } else { format!("{place}.{}", keys.join(".")) };
        let backticked = |start: &str| why.strip_prefix(start).and_then(|rest| rest.split_once('`'));
        if let Some((unknown, _)) = backticked("unknown field `") {
            mistakes.push(Mistake { item, ..unknown_key(&format!("{key}.{unknown}")) });
            // Without it the rest can be read on.
            if remove(&mut value, &keys, unknown) {
                continue;
            }
            return None;
        }
        if backticked("missing field `").is_some_and(|(missing, _)| taken.iter().any(|key| key == missing)) {
            return None;
        }
        let at = places.of_value::<T>(place, item, why).filter(|_| !places.is_overridden(&key));
        let mistake = Mistake { at, item, ..unreadable(key, why, found(&value, &keys)) };
        let known = |told: &Mistake| (&told.place, &told.why) == (&mistake.place, &mistake.why);
        if !mistakes.iter().skip(before).any(known) {
            mistakes.push(mistake);
        }
        let (last, around) = keys.split_last()?;
        if !remove(&mut value, around, last) {
            return None;
        }
        taken.push((*last).to_owned());
    }
}

/// A parser's message and the keys at its end, after the word `in`.
fn told(error: &str) -> (&str, Vec<&str>) {
    let error = error.trim();
    match error.rsplit_once("\nin `") {
        Some((why, keys)) => (why.trim(), keys.trim_end_matches('`').split('.').collect()),
        None => (error, Vec::new()),
    }
}

fn found<'v>(value: &'v Value, keys: &[&str]) -> Option<&'v Value> {
    keys.iter().try_fold(value, |value, key| value.get(*key))
}

/// Takes a key out of the table at this place; out of the first that has it where lists are on the way.
fn remove(value: &mut Value, keys: &[&str], key: &str) -> bool {
    match (value, keys.split_first()) {
        (Value::Array(items), _) => items.iter_mut().any(|item| remove(item, keys, key)),
        (Value::Table(table), Some((first, rest))) => {
            table.get_mut(*first).is_some_and(|inner| remove(inner, rest, key))
        }
        (Value::Table(table), None) => table.remove(key).is_some(),
        (
            Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_),
            _,
        ) => false,
    }
}

fn unreadable(place: String, why: &str, value: Option<&Value>) -> Mistake {
    let (why, hint) = match (why, value) {
        ("invalid socket address syntax", Some(value)) => {
            (format!("{} is not an address to listen on", shown(value)), "write for example `127.0.0.1:7100`")
        }
        (why, _) => (in_plain_words(why), "see `countersign init` for a commented example"),
    };
    Mistake::new(place, why, hint)
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("`{value}`"), |text| format!("`{text}`"))
}

/// The parser speaks of Rust's types; people write TOML.
fn in_plain_words(why: &str) -> String {
    let Some((found, expected)) = why.split_once(", expected ") else { return why.to_owned() };
    let expected = match expected {
        "usize" | "u64" => "a whole number",
        "a string" | "string" | "path string" => "a text in quotes",
        "a sequence" | "a set" => "a list",
        "a map" => "a section",
        other if other.starts_with("struct ") => "a section",
        other => other,
    };
    format!("{found}, expected {expected}")
}

fn unknown_key(path: &str) -> Mistake {
    let key = path.rsplit('.').next().unwrap_or(path);
    let nearest = KEYS
        .iter()
        .max_by(|left, right| strsim::jaro_winkler(key, left).total_cmp(&strsim::jaro_winkler(key, right)));
    let hint = match nearest.filter(|known| strsim::jaro_winkler(key, known) > 0.8) {
        Some(known) => format!("did you mean `{known}`?"),
        None => "remove it; `countersign init` shows every key".into(),
    };
    Mistake::new(path, format!("`{key}` is not a key"), hint)
}
