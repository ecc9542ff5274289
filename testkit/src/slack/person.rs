//! What people do in Slack, as the requests that Slack makes of it: a click on a button, a form that is sent, a command.
//! Each is signed with the app's secret.

use super::{CHANNEL, Message, Slack, TEAM, blocks, text};
use crate::server::lock;
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};
use url::form_urlencoded;

/// The app's signing secret.
pub const SECRET: &str = "planted-slack-signing-secret";

/// A request of Slack's.
#[derive(Clone, Debug)]
pub struct Request {
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// Signed under a secret at a time, in seconds of Unix time.
    pub fn signed(secret: &str, seconds: u64, kind: &str, body: String) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("v0:{seconds}:{body}").as_bytes());
        let signature = tag.as_ref().iter().fold("v0=".to_owned(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let header = |name: &str, value: String| (name.to_owned(), value);
        let headers = vec![
            header("content-type", kind.to_owned()),
            header("x-slack-request-timestamp", seconds.to_string()),
            header("x-slack-signature", signature),
        ];
        Self { headers, body }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// The present, in seconds of Unix time.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Slack {
    /// A click on the button with this `action_id`; the error says that the message has none.
    pub fn click(&self, message: &Message, user: &str, action: &str) -> Result<Request, String> {
        self.made_up(message, user, action, action)
    }

    /// The same with another button's value: who makes up a click can have it so.
    pub fn made_up(&self, message: &Message, user: &str, action: &str, of: &str) -> Result<Request, String> {
        let elements =
            message.blocks.iter().flat_map(|block| block["elements"].as_array().into_iter().flatten());
        let button = elements.clone().find(|element| element["action_id"] == of);
        let button = button.ok_or_else(|| format!("no button `{of}` in {:?}", message.blocks))?;
        let (trigger, hook) = self.trigger();
        let payload = json!({
            "type": "block_actions", "team": {"id": TEAM}, "trigger_id": trigger, "response_url": hook,
            "user": {"id": user, "username": user.to_lowercase(), "name": user.to_lowercase(), "team_id": TEAM},
            "channel": {"id": message.channel}, "container": {"type": "message", "message_ts": message.ts},
            "actions": [{"type": "button", "action_id": action, "value": button["value"], "action_ts": "1.000001"}],
        });
        Ok(payload_of(&payload))
    }

    /// The form that was opened last, sent with a reason.
    pub fn submit(&self, user: &str, reason: &str) -> Result<Request, String> {
        let shared = lock(&self.shared);
        let (number, view) = shared.views.iter().enumerate().next_back().ok_or("no form is open")?;
        let input =
            view["blocks"].as_array().and_then(|all| all.iter().find(|block| block["type"] == "input"));
        let input = input.ok_or("nothing is asked in the form")?;
        let (block, field) = (text(input, "block_id"), text(&input["element"], "action_id"));
        let payload = json!({
            "type": "view_submission", "team": {"id": TEAM}, "trigger_id": format!("form.{number}"),
            "user": {"id": user, "name": user.to_lowercase(), "team_id": TEAM},
            "view": {"id": format!("V{number}"), "callback_id": view["callback_id"],
                "private_metadata": view["private_metadata"],
                "state": {"values": {block: {field: {"type": "plain_text_input", "value": reason}}}}},
        });
        Ok(payload_of(&payload))
    }

    /// `/countersign` with a text behind it.
    pub fn command(&self, user: &str, words: &str) -> Request {
        let (trigger, hook) = self.trigger();
        let name = user.to_lowercase();
        let pairs = [
            ("team_id", TEAM),
            ("channel_id", CHANNEL),
            ("user_id", user),
            ("user_name", &name),
            ("command", "/countersign"),
            ("text", words),
            ("response_url", &hook),
            ("trigger_id", &trigger),
        ];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Request::signed(SECRET, now(), FORM, body)
    }

    /// What users were told where only they see it, oldest first: all texts of each.
    pub fn told(&self) -> Vec<String> {
        let shared = lock(&self.shared);
        shared.told.iter().map(|(_, said)| said_in(said)).collect()
    }

    /// The same as they came, with their blocks.
    pub fn answers(&self) -> Vec<Value> {
        lock(&self.shared).told.iter().map(|(_, said)| said.clone()).collect()
    }

    /// A new trigger, and an address to answer at.
    fn trigger(&self) -> (String, String) {
        let mut shared = lock(&self.shared);
        shared.count += 1;
        let trigger = format!("{}.{TEAM}.x", shared.count);
        shared.triggers.insert(trigger.clone());
        (trigger, format!("{}/hooks/{}", self.server.url(), shared.count))
    }
}

fn payload_of(payload: &Value) -> Request {
    let body =
        form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
    Request::signed(SECRET, now(), FORM, body)
}

fn said_in(said: &Value) -> String {
    let all = said["blocks"].as_array().cloned().unwrap_or_default();
    ["plain_text", "mrkdwn"].map(|kind| blocks::texts_of(&all, kind).join("\n")).join("\n")
}
