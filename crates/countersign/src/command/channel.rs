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
                ];
                super::person::rows(found, &head, "no channel is configured")
            })
        }
        ChannelCommand::Add { kind, name } => add::run(path, kind, name, output),
        ChannelCommand::Test { name } => Box::pin(test(path, &name, output)).await,
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

async fn test(path: &Path, name: &str, output: Output) -> Result<(), Failure> {
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

/// What to look at where a channel of this kind was not told.
fn remedy(kind: &str) -> &'static str {
    match kind {
        "slack" => "check token and channel; the app has to be a member of the channel",
        "teams" => "check app id, tenant, secret and conversation; the app has to be installed there",
        "email" => "check server, port, `tls`, user and password, and that the server takes mail from `from`",
        "pagerduty" => "check the routing key: it is that of an Events API v2 integration",
        "jira" => {
            "check site, account, token and project; the account has to be allowed to create issues there"
        }
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
