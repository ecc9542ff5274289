//! What Slack sends, read: buttons, a form that was sent, a command. Nothing is believed that is not read here.

use crate::desk::{Target, Who, freeze};
use countersign_engine::settle::FreezeScope;
use serde_json::Value;
use std::collections::HashMap;
use url::form_urlencoded;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Slack makes sure that the address is ours: this is sent back.
    Challenge(String),
    /// Somebody approves.
    Approve(Click),
    /// Somebody wants to reject, and is asked why.
    Reject(Click),
    /// Somebody rejects, with a reason.
    Because {
        click: Click,
        reason: String,
    },
    /// Somebody freezes something, with a reason.
    Freeze {
        scope: FreezeScope,
        reason: String,
        who: Who,
        /// The form's own id.
        delivery: String,
        answer_to: String,
    },
    Command(Command),
    /// Nothing that anything is done about.
    Other,
}

/// A decision under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Click {
    pub(super) who: Who,
    /// Slack's own id of this click.
    pub(super) delivery: String,
    /// For opening a form, within three seconds.
    pub(super) trigger: String,
    pub(super) target: Target,
    /// Where only this user is answered.
    pub(super) answer_to: String,
}

/// `/countersign …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) who: Who,
    pub(super) text: String,
    /// For opening a form, within three seconds.
    pub(super) trigger: String,
    pub(super) answer_to: String,
}

/// The form that asks for a reason.
pub(super) const FORM: &str = "reject";
/// The form that freezes something.
pub(super) const FREEZE: &str = "freeze";
/// Block and field of the reason in either.
pub(super) const REASON: &str = "reason";

/// Reads a body; `json` where it says that it is JSON. `None`: it cannot be read.
pub(super) fn read(body: &[u8], json: bool) -> Option<Heard> {
    if json {
        let event: Value = serde_json::from_slice(body).ok()?;
        let challenge = (text(&event, "/type") == "url_verification").then(|| text(&event, "/challenge"));
        return Some(challenge.map_or(Heard::Other, |challenge| Heard::Challenge(challenge.to_owned())));
    }
    let pairs: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    if let Some(payload) = pairs.get("payload") {
        return interaction(&serde_json::from_str(payload).ok()?);
    }
    if !pairs.contains_key("command") {
        return Some(Heard::Other);
    }
    command(|name| pairs.get(name).map(String::as_str).unwrap_or_default())
}

/// The same of what comes in an envelope of this type. `None`: it cannot be read.
pub(super) fn enveloped(kind: &str, payload: &Value) -> Option<Heard> {
    match kind {
        "interactive" => interaction(payload),
        "slash_commands" => command(|name| payload.get(name).and_then(Value::as_str).unwrap_or_default()),
        _ => Some(Heard::Other),
    }
}

fn command<'v>(one: impl Fn(&str) -> &'v str) -> Option<Heard> {
    let who = who(one("team_id"), one("user_id"), one("user_name"))?;
    let (text, trigger) = (one("text").trim().to_owned(), one("trigger_id").to_owned());
    Some(Heard::Command(Command { who, text, trigger, answer_to: one("response_url").to_owned() }))
}

fn interaction(payload: &Value) -> Option<Heard> {
    let team = Some(text(payload, "/user/team_id")).filter(|team| !team.is_empty());
    let team = team.unwrap_or_else(|| text(payload, "/team/id"));
    let name = Some(text(payload, "/user/name")).filter(|name| !name.is_empty());
    let who = who(team, text(payload, "/user/id"), name.unwrap_or_else(|| text(payload, "/user/username")))?;
    match text(payload, "/type") {
        "block_actions" => {
            let trigger = text(payload, "/trigger_id").to_owned();
            let (action, value) = (text(payload, "/actions/0/action_id"), text(payload, "/actions/0/value"));
            let make: fn(Click) -> Heard = match action {
                "approve" => Heard::Approve,
                "reject" => Heard::Reject,
                _ => return Some(Heard::Other),
            };
            let delivery = format!("click:{trigger}");
            let answer_to = text(payload, "/response_url").to_owned();
            Some(make(Click { who, delivery, trigger, target: Target::read(value)?, answer_to }))
        }
        "view_submission" => {
            let form = text(payload, "/view/callback_id");
            if form != FORM && form != FREEZE {
                return Some(Heard::Other);
            }
            let (value, answer_to) = text(payload, "/view/private_metadata").split_once(' ')?;
            let reason = text(payload, &format!("/view/state/values/{REASON}/{REASON}/value")).to_owned();
            let (delivery, answer_to) = (format!("form:{}", text(payload, "/view/id")), answer_to.to_owned());
            if form == FREEZE {
                return Some(Heard::Freeze { scope: freeze::read(value)?, reason, who, delivery, answer_to });
            }
            let target = Target::read(value)?;
            let click = Click { who, delivery, trigger: String::new(), target, answer_to };
            Some(Heard::Because { click, reason })
        }
        _ => Some(Heard::Other),
    }
}

/// Workspace and user: users' ids alone are told apart within a workspace only.
fn who(team: &str, user: &str, name: &str) -> Option<Who> {
    let plain = |id: &str| {
        let fits = (2..=64).contains(&id.len());
        fits && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    let name = (!name.is_empty()).then(|| name.to_owned());
    (plain(team) && plain(user)).then(|| Who { id: format!("{team}/{user}"), name })
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::ApprovalId;
    use serde_json::json;

    fn form(payload: &Value) -> Vec<u8> {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &payload.to_string())
            .finish()
            .into_bytes()
    }

    fn click(action: &str, value: &str) -> Value {
        json!({
            "type": "block_actions", "user": {"id": "U1", "username": "ana", "team_id": "T9"}, "team": {"id": "T1"},
            "trigger_id": "13.7.abc", "response_url": "https://hooks.slack.com/actions/x",
            "actions": [{"action_id": action, "value": value}],
        })
    }

    #[test]
    fn a_click_says_who_on_what_and_nothing_else_is_taken_for_one() {
        let approval = ApprovalId::from_parts(1, 2);
        let value = Target::value(approval, "shown");
        let Some(Heard::Approve(found)) = read(&form(&click("approve", &value)), false) else {
            panic!("no click")
        };
        assert_eq!((&*found.who.id, found.who.name.as_deref()), ("T9/U1", Some("ana")));
        assert_eq!(found.target, Target { approval, shown: "shown".into() });
        assert_eq!((&*found.delivery, &*found.trigger), ("click:13.7.abc", "13.7.abc"));
        assert!(matches!(read(&form(&click("reject", &value)), false), Some(Heard::Reject(_))));
        assert_eq!(read(&form(&click("review", "")), false), Some(Heard::Other));
        assert_eq!(read(&form(&click("approve", "apr_1.x")), false), None, "no approval's id");
        let mut nobody = click("approve", &value);
        nobody["user"] = json!({"id": "U1/../U2", "team_id": "T9"});
        assert_eq!(read(&form(&nobody), false), None);
        let command =
            b"command=%2Fcountersign&text=+status+x&user_id=U1&team_id=T1&user_name=ana&response_url=r";
        let Some(Heard::Command(command)) = read(command, false) else { panic!("no command") };
        assert_eq!((&*command.text, &*command.who.id, &*command.answer_to), ("status x", "T1/U1", "r"));
        let sent = |value: &str| {
            let mut sent = click("approve", "");
            sent["type"] = json!("view_submission");
            sent["view"] = json!({"id": "V7", "callback_id": "freeze", "private_metadata": value,
                "state": {"values": {"reason": {"reason": {"value": "it runs wild"}}}}});
            read(&form(&sent), false)
        };
        let Some(Heard::Freeze { scope, reason, delivery, answer_to, .. }) = sent("target:shop r") else {
            panic!("no freeze")
        };
        let what = (freeze::written(&scope), &*reason, &*delivery, &*answer_to);
        assert_eq!(what, ("target:shop".into(), "it runs wild", "form:V7", "r"));
        for wrong in ["target:shop", "shop r", "agent:shop r", " r"] {
            assert_eq!(sent(wrong), None, "{wrong}");
        }
        let hello = json!({"type": "url_verification", "challenge": "c"}).to_string();
        assert_eq!(read(hello.as_bytes(), true), Some(Heard::Challenge("c".into())));
        assert_eq!(read(b"ssl_check=1&token=x", false), Some(Heard::Other));
        assert_eq!(read(b"payload=%7B", false), None);
    }
}
