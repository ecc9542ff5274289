//! What a security event token says, once its signature was checked: which event, of whom, as of when.

use crate::{
    email::EmailAddress,
    issuer::{Issuer, claims},
    jose::{Unsound, compact::Signed},
};
use countersign_core::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
/// How far back a token may have been made: a transmitter that was away sends what it kept.
const OLDEST: Duration = Duration::from_hours(7 * 24);
/// Names for one person in one token.
const MOST_NAMES: usize = 16;

/// What an event means here. The later is the graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nothing that is acted on: a check of the stream, a session that began, a device's state.
    Other,
    /// The account is good again.
    Enabled,
    /// Sessions and credentials as they were are not to be trusted.
    Distrust,
    /// The account is closed.
    Disabled,
}

/// Somebody, by one of the names their organisation has for them (RFC 9493).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Account {
        issuer: String,
        subject: String,
    },
    Email(EmailAddress),
    /// The provider's own name for a session.
    Session(String),
}

/// A token's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Names the token.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// The last part of the event's address.
    pub(crate) name: String,
    /// All the names of the one person.
    pub(crate) subjects: Vec<Subject>,
    /// When it happened.
    pub(crate) at: Timestamp,
}

/// Reads a token's claims (RFC 8417, section 2; Shared Signals Framework 1.0, section 4).
pub(crate) fn read(issuer: &Issuer, token: &Signed, now: Timestamp) -> Result<Said, Unsound> {
    let said = &token.claims;
    // An ID token of the same signer must not be taken for an event (RFC 8417, section 4.6).
    if token.kind.as_deref() != Some("secevent+jwt") {
        return Err(Unsound("the token is no security event token"));
    }
    claims::addressed(issuer, said)?;
    if said.contains_key("exp") || said.contains_key("sub") {
        return Err(Unsound("a security event token has neither `exp` nor `sub`"));
    }
    let made = claims::time(said, "iat")?.ok_or(Unsound("the token does not say when it was made"))?;
    if made > now.plus(issuer.skew) {
        return Err(Unsound("the token is not good yet: its time lies ahead"));
    }
    if now.since(made) > OLDEST {
        return Err(Unsound("the token is older than a week"));
    }
    let id = said.get("jti").and_then(Value::as_str).filter(|id| (1..=255).contains(&id.len()));
    let id = id.ok_or(Unsound("the token has no name"))?.to_owned();
    let (address, event) = gravest(said)?;
    let kind = kind(address);
    let mut subjects = Vec::new();
    if kind != Kind::Other {
        // The final framework says it beside the events; drafts said it within.
        let subject = said.get("sub_id").or_else(|| event.get("subject"));
        names_of(subject.ok_or(Unsound("the token is about nobody"))?, &mut subjects, true)?;
    }
    let happened = claims::time(event, "event_timestamp")?.unwrap_or(made);
    let name = address.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Said { id, kind, name, subjects, at: happened.min(made) })
}

/// A token says one thing (section 4.1.1); of several the gravest counts.
fn gravest(said: &Map<String, Value>) -> Result<(&str, &Map<String, Value>), Unsound> {
    let mut found: Option<(&str, &Map<String, Value>)> = None;
    for (address, event) in said.get("events").and_then(Value::as_object).into_iter().flatten() {
        let event = event.as_object().ok_or(Unsound("an event of the token cannot be read"))?;
        if found.is_none_or(|(other, _)| kind(address) > kind(other)) {
            found = Some((address, event));
        }
    }
    found.ok_or(Unsound("the token holds no event"))
}

fn kind(address: &str) -> Kind {
    match (address.strip_prefix(CAEP), address.strip_prefix(RISC)) {
        (Some("session-revoked" | "credential-change"), _)
        | (_, Some("sessions-revoked" | "credential-compromise" | "account-credential-change-required")) => {
            Kind::Distrust
        }
        (_, Some("account-disabled" | "account-purged")) => Kind::Disabled,
        (_, Some("account-enabled")) => Kind::Enabled,
        (_, _) => Kind::Other,
    }
}

/// Collects the names of one subject. `outer`: those that hold others are looked into, once.
fn names_of(subject: &Value, names: &mut Vec<Subject>, outer: bool) -> Result<(), Unsound> {
    const BAD: Unsound = Unsound("whom the token is about cannot be read");
    let members = subject.as_object().ok_or(BAD)?;
    let text = |name: &str| {
        let text = members.get(name).and_then(Value::as_str);
        text.filter(|text| (1..=512).contains(&text.len())).map(str::to_owned).ok_or(BAD)
    };
    match (text("format")?.as_str(), outer) {
        ("iss_sub", _) => names.push(Subject::Account { issuer: text("iss")?, subject: text("sub")? }),
        ("email", _) => names.extend(EmailAddress::new(&text("email")?).ok().map(Subject::Email)),
        ("aliases", true) => {
            let several = members.get("identifiers").and_then(Value::as_array).ok_or(BAD)?;
            if several.len() > MOST_NAMES {
                return Err(BAD);
            }
            several.iter().try_for_each(|one| names_of(one, names, false))?;
        }
        // A session of somebody is taken for all of theirs: a vote does not say which one it came from.
        ("complex", true) => match (members.get("user"), members.get("session")) {
            (Some(user), _) => names_of(user, names, false)?,
            (None, Some(session)) => {
                let id = session.get("id").and_then(Value::as_str).ok_or(BAD)?;
                names.push(Subject::Session(id.to_owned()));
            }
            (None, None) => {}
        },
        ("complex" | "aliases", false) => return Err(BAD),
        // Telephones, devices, names of the transmitter's own: nobody is known by them here.
        (_, _) => {}
    }
    Ok(())
}
