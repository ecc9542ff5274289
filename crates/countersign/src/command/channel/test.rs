//! `countersign channel test`: a test message from here, as the gateway would send it; whether the way back works, where people
//! decide; and for channels that write to people, to one of them.

use super::super::{door, load};
use crate::{
    cli::Output,
    failure::Failure,
    operator::{Door, segment},
    output,
    system::{SystemClock, SystemEntropy},
    wiring::counted,
};
use countersign_core::{ActionId, ApprovalId, ChannelName, EntryId, PersonId};
use countersign_engine::port::clock::{Clock, Entropy};
use countersign_pep::Span;
use countersign_reviewer::{Again, ChannelConfig, Failed, Letter, Speaks, Writes};
use http::Method;
use serde_json::{Value, json};
use std::{io::Write as _, path::Path, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

/// How often the running gateway is asked whether it heard something.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// The other side may ask for so long a rest, so many times.
const LONGEST_REST: Duration = Duration::from_secs(30);
const TRIES: u32 = 5;
/// Nobody waits longer for an answer.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What is tried beside the way there.
pub(super) struct Wanted<'w> {
    pub(super) person: Option<&'w str>,
    pub(super) answer_within: Option<Span>,
}

pub(super) async fn run(path: &Path, name: &str, wanted: Wanted<'_>, output: Output) -> Result<(), Failure> {
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
    let answers = answers(channel);
    if wanted.answer_within.is_some() && answers.is_none() {
        let failure = Failure::usage(format!(
            "nobody can answer on `{name}`: it takes nothing in at an address of this console"
        ));
        return Err(failure.hint("leave `--answer-within` out"));
    }
    if wanted.answer_within.is_some_and(|span| span.0 > LONGEST_WAIT) {
        return Err(Failure::usage("nobody waits so long for an answer").hint("write `--answer-within 2m`"));
    }
    let mut letter = letter(&config.console_url);
    match (channel.tell().writes(), wanted.person) {
        (Writes::ToDevices, Some(person)) => return devices(path, name, person, output).await,
        (Writes::ToDevices, None) => {
            let failure = Failure::usage(format!("`{name}` tells people's devices: whose are to be tried?"));
            return Err(failure.hint("name somebody: `--person ana@example.com`"));
        }
        (Writes::ToAPlace, Some(_)) => {
            let failure = Failure::usage(format!("`{name}` writes to nobody in particular"));
            return Err(failure.hint("leave `--person` out"));
        }
        (Writes::ToPeople, Some(person)) => {
            let (id, email) = whom(&door(path).await?, person).await?;
            letter = letter.meant_for(id, email);
        }
        (Writes::ToUsersOf(of), Some(person)) => {
            let door = door(path).await?;
            let (id, _) = whom(&door, person).await?;
            letter = letter.meant_for(id, user(&door, id, &of, person).await?);
        }
        (Writes::ToAPlace | Writes::ToPeople | Writes::ToUsersOf(_), None) => {}
    }
    let before = match wanted.answer_within {
        Some(_) => Some(last_heard(&door(path).await?, name).await?),
        None => None,
    };
    let spec = channel.spec();
    if let Err(failed) = tell(channel, &letter).await {
        return Err(Failure::new(format!("`{name}` was not told: {}", failed.why)).hint(remedy(spec.kind)));
    }
    let mut told = json!({"channel": spec.name, "place": spec.place, "id": letter.id, "taken": true});
    let mut said = format!("{} took the test message `{}`.", spec.place, letter.id);
    let mut more = |key: &str, value: String| {
        if let Some(told) = told.as_object_mut() {
            told.insert(key.into(), value.into());
        }
    };
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
        if let Stands::Since(since) = stands {
            more("listening_since", since);
        }
    }
    match (answers, wanted.answer_within, before) {
        (Some(how), Some(within), Some(before)) => {
            let at = answered(path, name, how, (within.0, before)).await?;
            said = format!("{said}\nSomething came back from there at {at}: the way back works.");
            more("heard_at", at);
        }
        (Some(_), _, _) => {
            said = format!("{said}\nThe way back was not tried: add `--answer-within 2m`.");
        }
        (None, _, _) => {}
    }
    output::show(output, &told, |_| said)
}

/// Tells it; where the other side asks to wait a little, once more behind that.
async fn tell(channel: &ChannelConfig, letter: &Letter) -> Result<(), Failed> {
    let mut tries_left = TRIES;
    loop {
        let Err(failed) = channel.tell().tell(letter).await else { return Ok(()) };
        match failed.again {
            Again::After(rest) if tries_left > 0 && rest <= LONGEST_REST => sleep(rest).await,
            Again::After(_) | Again::Yes | Again::No => return Err(failed),
        }
        tries_left -= 1;
    }
}

/// What somebody does there so that something comes back, where people can speak.
fn answers(channel: &ChannelConfig) -> Option<&'static str> {
    match channel.speaks() {
        Speaks::Slack(_) | Speaks::Socket(_) => Some("type `/countersign` in Slack"),
        Speaks::Teams(_) => Some("write `pending` to the bot in Teams"),
        Speaks::Events(_) => Some("have your adapter send a signed event, such as `bind`"),
        Speaks::Jira(door) if door.hears() => Some("wait: Jira tells of the test issue by itself"),
        Speaks::Never | Speaks::Jira(_) | Speaks::Watched(_) => None,
    }
}

/// Waits until the running gateway heard something that it believed.
async fn answered(
    path: &Path,
    name: &str,
    how: &str,
    (within, before): (Duration, Option<String>),
) -> Result<String, Failure> {
    let waits = format!("Now {how}. Waiting for it …\n");
    let failed = |error: std::io::Error| Failure::of("the terminal cannot be written to", &error);
    std::io::stderr().write_all(waits.as_bytes()).map_err(failed)?;
    let door = door(path).await?;
    let (began, mut looks) = (Instant::now(), 0_u32);
    loop {
        if let Some(at) = last_heard(&door, name).await?.filter(|at| Some(at) != before.as_ref()) {
            return Ok(at);
        }
        looks = looks.saturating_add(1);
        let next = began + LOOKS_EVERY * looks;
        if next > began + within {
            let failure = Failure::new(format!("`{name}` was told, and nothing came back that was believed"));
            return Err(failure.hint(
                "check the address that is written on the other side, the secret here, and the gateway's own log",
            ));
        }
        sleep_until(next).await;
    }
}

/// When the running gateway last heard somebody there.
async fn last_heard(door: &Door, name: &str) -> Result<Option<String>, Failure> {
    let found = door.call(Method::GET, "/api/v1/channels", &Value::Null).await?;
    let own = found
        .as_array()
        .into_iter()
        .flatten()
        .find(|item| item.get("name").is_some_and(|known| known == name));
    let own = own.ok_or_else(|| {
        let failure = Failure::new(format!("the gateway that runs knows no channel `{name}`"));
        failure.hint("start it anew: the configuration has changed since")
    })?;
    Ok(own.get("last_heard").and_then(Value::as_str).map(str::to_owned))
}

/// Somebody's id and address.
async fn whom(door: &Door, person: &str) -> Result<(PersonId, String), Failure> {
    let id = super::super::person::id_of(door, person).await?;
    let found = door.call(Method::GET, &format!("/api/v1/people/{}", segment(&id)), &Value::Null).await?;
    let email = found.get("email").and_then(Value::as_str);
    let read = id.parse().ok().zip(email);
    let (id, email) = read.ok_or_else(|| Failure::new(format!("`{person}` is not known here")))?;
    Ok((id, email.to_owned()))
}

/// As whom somebody is bound in a channel.
async fn user(door: &Door, id: PersonId, of: &ChannelName, person: &str) -> Result<String, Failure> {
    let at = format!("/api/v1/people/{}/bindings", segment(&id.to_string()));
    let found = door.call(Method::GET, &at, &Value::Null).await?;
    let mut all = found.as_array().into_iter().flatten();
    let theirs = all.find(|one| one.get("channel").is_some_and(|known| known == of.as_str()));
    let user = theirs.and_then(|one| one.get("user")).and_then(Value::as_str);
    user.map(str::to_owned).ok_or_else(|| {
        let failure = Failure::new(format!("`{person}` is nobody's word in `{of}`"));
        failure.hint("they type `/countersign bind` in Slack, and open the link signed in")
    })
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
    let id = super::super::person::id_of(&door, person).await?;
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
        super::super::person::rows(found, &["device", "service", "taken", "error"], "")
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
