//! What people do in Teams, as the activities that the Bot Framework makes of it: a click on a button, a card that is looked at,
//! words to the bot. Each comes with a token that the Bot Framework signs.

use super::{APP, Message, TENANT, Teams, cards};
use crate::{issuer::SigningKey, server::lock};
use serde_json::{Value, json};
use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

/// A request of the Bot Framework's.
#[derive(Clone, Debug)]
pub struct Request {
    /// `None`: it comes without.
    pub token: Option<String>,
    pub activity: Value,
}

/// The present, in seconds of Unix time.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A moment as the Bot Framework writes it.
pub fn moment(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= if leap(year) { 366 } else { 365 } {
        day -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    for length in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.1234567Z", day + 1)
}

impl Teams {
    /// The claims of a token that holds now.
    pub fn claims(&self) -> Value {
        json!({"iss": self.issuer(), "aud": APP, "nbf": now() - 60, "exp": now() + 3540, "serviceurl": self.service()})
    }

    /// A token with these claims, signed by the Bot Framework.
    pub fn token(&self, claims: &Value) -> io::Result<String> {
        Self::token_of(&self.key, claims)
    }

    /// The same under another head.
    pub fn signed(&self, head: &Value, claims: &Value) -> io::Result<String> {
        self.key.token(head, claims)
    }

    /// The same, signed by somebody.
    pub fn token_of(key: &SigningKey, claims: &Value) -> io::Result<String> {
        key.token(&json!({"typ": "JWT", "alg": key.algorithm(), "kid": key.id}), claims)
    }

    /// A click on the button with this verb; the error says that the message has none.
    pub fn click(
        &self,
        message: &Message,
        user: &str,
        verb: &str,
        reason: Option<&str>,
    ) -> io::Result<Request> {
        let button = cards::button(&message.card, verb);
        let button = button.ok_or_else(|| io::Error::other(format!("no `{verb}` in {}", message.card)))?;
        self.executed(message, user, &button, reason)
    }

    /// A card that is looked at.
    pub fn look(&self, message: &Message, user: &str) -> io::Result<Request> {
        self.executed(message, user, cards::at(&message.card, "/refresh/action"), None)
    }

    /// An action that is executed, with what the form beside it holds.
    pub fn executed(
        &self,
        message: &Message,
        user: &str,
        action: &Value,
        reason: Option<&str>,
    ) -> io::Result<Request> {
        let mut data = action["data"].clone();
        if let (Some(reason), Some(data)) = (reason, data.as_object_mut()) {
            data.insert("reason".into(), reason.into());
        }
        let more = json!({
            "type": "invoke", "name": "adaptiveCard/action", "replyToId": message.id, "value": {
                "action": {"type": "Action.Execute", "verb": action["verb"], "data": data}, "trigger": "manual"},
        });
        let activity = joined(self.activity(user, &message.conversation, "channel"), more);
        Ok(Request { token: Some(self.token(&self.claims())?), activity })
    }

    /// Words to the bot, where nobody else reads them.
    pub fn words(&self, user: &str, text: &str) -> io::Result<Request> {
        let words = json!({"type": "message", "text": text});
        let activity = joined(self.activity(user, &format!("a:{user}"), "personal"), words);
        Ok(Request { token: Some(self.token(&self.claims())?), activity })
    }

    fn activity(&self, user: &str, conversation: &str, kind: &str) -> Value {
        let number = {
            let mut shared = lock(&self.shared);
            shared.count += 1;
            shared.count
        };
        json!({
            "id": format!("f:{number}"), "channelId": "msteams", "timestamp": moment(now()), "serviceUrl": self.service(),
            "from": {"id": format!("29:{user}"), "name": user, "aadObjectId": user},
            "recipient": {"id": format!("28:{APP}"), "name": "Countersign"},
            "conversation": {"id": conversation, "tenantId": TENANT, "conversationType": kind}, "channelData": {"tenant": {"id": TENANT}},
        })
    }
}

/// The members of both.
fn joined(one: Value, other: Value) -> Value {
    let (Value::Object(mut all), Value::Object(more)) = (one, other) else { return Value::Null };
    all.extend(more);
    Value::Object(all)
}
