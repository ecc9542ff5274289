//! `countersign channel`: ways on which people and systems are told of approvals.

mod add;

use super::{door, load};
use crate::{
    cli::{ChannelCommand, Output},
    failure::Failure,
    operator::segment,
    output,
    system::{SystemClock, SystemEntropy},
    wiring::counted,
};
use countersign_core::{ActionId, ApprovalId, EntryId};
use countersign_engine::port::clock::{Clock, Entropy};
use countersign_reviewer::Letter;
use http::Method;
use serde_json::{Value, json};
use std::path::Path;

pub(super) async fn run(path: &Path, command: ChannelCommand, output: Output) -> Result<(), Failure> {
    match command {
        ChannelCommand::List => {
            let found = door(path).await?.call(Method::GET, "/api/v1/channels", &Value::Null).await?;
            output::show(output, &json!({"items": found}), |found| {
                let head = [
                    "name",
                    "kind",
                    "place",
                    "hears",
                    "waiting",
                    "given_up",
                    "last_told",
                    "last_error",
                    "listening_since",
                    "unread_error",
                    "warning",
                ];
                super::person::rows(found, &head, "no channel is configured")
            })
        }
        ChannelCommand::Add { kind, name } => add::run(path, kind, name, output),
        ChannelCommand::Test { name, person } => Box::pin(test(path, &name, person.as_deref(), output)).await,
        ChannelCommand::Replay { name, approval } => {
            let at = format!("/api/v1/channels/{}/replay", segment(&name));
            let done = door(path).await?.call(Method::POST, &at, &json!({"approval": approval})).await?;
            output::show(output, &done, |done| {
                let count = done.get("replayed").and_then(Value::as_u64).unwrap_or_default();
                let approvals = counted(usize::try_from(count).unwrap_or(usize::MAX), "approval");
                format!("`{name}` is told once more of {approvals}")
            })
        }
    }
}

async fn test(path: &Path, name: &str, person: Option<&str>, output: Output) -> Result<(), Failure> {
    let config = load(path)?;
    let Some(channel) = config.channels.iter().find(|channel| channel.spec().name.as_str() == name) else {
        let known: Vec<String> =
            config.channels.iter().map(|channel| channel.spec().name.to_string()).collect();
        let failure =
            Failure::usage(format!("no channel is named `{}`", countersign_core::visible::name(name)));
        return Err(failure.hint(match known.as_slice() {
            [] => "the configuration has no `[[channel]]`".to_owned(),
            known => format!("there are `{}`", known.join("`, `")),
        }));
    };
    match (channel.push().is_some(), person) {
        (true, Some(person)) => return devices(path, name, person, output).await,
        (true, None) => {
            let failure = Failure::usage(format!("`{name}` tells people's devices: whose are to be tried?"));
            return Err(failure.hint("name somebody: `--person ana@example.com`"));
        }
        (false, Some(_)) => {
            let failure = Failure::usage(format!("`{name}` tells no devices of anybody's"));
            return Err(failure.hint("leave `--person` out"));
        }
        (false, None) => {}
    }
    let (spec, letter) = (channel.spec(), letter(&config.console_url));
    if let Err(failed) = channel.tell().tell(&letter).await {
        return Err(Failure::new(format!("`{name}` was not told: {}", failed.why)).hint(remedy(spec.kind)));
    }
    let mut told = json!({"channel": spec.name, "place": spec.place, "id": letter.id, "taken": true});
    let mut said = format!("{} took the test message `{}`.", spec.place, letter.id);
    if let Some(socket) = channel.speaks().socket() {
        if let Err(failed) = socket.check().await {
            let failure =
                Failure::new(format!("`{name}` was told, and nobody is heard there: {}", failed.why));
            return Err(
                failure.hint("check the app-level token, and that Socket Mode is on in the app's settings")
            );
        }
        let stands = stands(path, name).await;
        let stood = match &stands {
            Stands::Since(since) => format!("The gateway's connection stands since {since}."),
            Stands::Not(why) => {
                format!("Slack would let the gateway connect; its connection does not stand: {why}.")
            }
            Stands::NoGateway => "Slack would let the gateway connect; it does not run here now.".to_owned(),
        };
        said = format!("{said}\n{stood}");
        if let (Some(told), Stands::Since(since)) = (told.as_object_mut(), stands) {
            told.insert("listening_since".into(), since.into());
        }
    }
    output::show(output, &told, |_| said)
}

/// Whether the connection of a running gateway stands.
enum Stands {
    Since(String),
    Not(String),
    NoGateway,
}

/// Asked of the gateway itself. A try connects to nothing: Slack would hand in there what the gateway waits for.
async fn stands(path: &Path, name: &str) -> Stands {
    let Ok(door) = door(path).await else { return Stands::NoGateway };
    let Ok(found) = door.call(Method::GET, "/api/v1/channels", &Value::Null).await else {
        return Stands::NoGateway;
    };
    let mut items = found.as_array().into_iter().flatten();
    let own = items.find(|item| item.get("name").is_some_and(|known| known == name));
    let text = |key: &str| own.and_then(|item| item.get(key)).and_then(Value::as_str).map(str::to_owned);
    match text("listening_since") {
        Some(since) => Stands::Since(since),
        None => Stands::Not(text("unread_error").unwrap_or_else(|| "it is being opened".into())),
    }
}

/// Sends a test to every device of somebody's, through the gateway, which alone has what it takes.
async fn devices(path: &Path, name: &str, person: &str, output: Output) -> Result<(), Failure> {
    let door = door(path).await?;
    let id = super::person::id_of(&door, person).await?;
    let theirs = format!("/api/v1/people/{}/subscriptions", segment(&id));
    let found = door.call(Method::GET, &theirs, &Value::Null).await?;
    let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        let failure = Failure::new(format!("`{person}` has no device here"));
        return Err(failure.hint("they add it on their own page of the console, on the device itself"));
    }
    let mut tried = Vec::new();
    for device in found {
        let at = |name: &str| device.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let way = format!("/api/v1/subscriptions/{}/test", segment(&at("id")));
        let answer = door.call(Method::POST, &way, &Value::Null).await;
        let error = answer.err().map(|failure| failure.to_string());
        tried.push(json!({
            "channel": name, "device": at("name"), "service": at("service"), "taken": error.is_none(),
            "error": error,
        }));
    }
    let failed = tried.iter().filter(|one| one.get("taken") != Some(&Value::Bool(true))).count();
    output::show(output, &json!({"items": tried}), |found| {
        super::person::rows(found, &["device", "service", "taken", "error"], "")
    })?;
    if failed == 0 {
        return Ok(());
    }
    let failure = Failure::new(format!("{} not told", counted(failed, "device")));
    Err(failure.hint("what is not there any more is removed; else look at the gateway's own way out"))
}

/// What to look at where a channel of this kind was not told.
fn remedy(kind: &str) -> &'static str {
    match kind {
        "slack" => "check token and channel; the app has to be a member of the channel",
        "teams" => "check app id, tenant, secret and conversation; the app has to be installed there",
        "email" => "check server, port, `tls`, user and password, and that the server takes mail from `from`",
        "pagerduty" => "check the routing key: it is that of an Events API v2 integration",
        "opsgenie" => {
            "check the API key, which is that of an API integration, and whether the account is in the EU"
        }
        "jira" => {
            "check site, account, token and project; the account has to be allowed to create issues there"
        }
        "servicenow" => {
            "check site, user, password and table; the account has to be allowed to create records there"
        }
        "push" => "check that the push services are reached from here, and that somebody has added a device",
        _ => "check address and secret; the receiver must answer 2xx",
    }
}

/// A message about an approval that is none.
fn letter(console_url: &str) -> Letter {
    let now = SystemClock.now();
    let random = || {
        let mut bytes = [0; 16];
        SystemEntropy.fill(&mut bytes);
        u128::from_be_bytes(bytes)
    };
    let entry = EntryId::from_parts(now.unix_ms(), random());
    let approval = ApprovalId::from_parts(now.unix_ms(), random());
    let action = ActionId::from_parts(now.unix_ms(), random());
    Letter::of_test(entry, (approval, action), console_url, now)
}
