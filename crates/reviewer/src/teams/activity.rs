//! What the Bot Framework sends, read: a button of a card, a card that is looked at, a message to the bot. Nothing is
//! believed that is not read here
//! (<https://github.com/microsoft/botframework-sdk/blob/main/specs/botframework-activity/botframework-activity.md>).

use super::draw::{APPROVE, LOOK, ON, REASON, REJECT};
use crate::desk::{Target, Who};
use countersign_core::Timestamp;
use countersign_engine::inward::Says;
use serde_json::Value;

/// An activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Activity {
    /// Where it says that it comes from: the token has to say the same.
    pub(super) service: String,
    /// The chat it comes from: `msteams`.
    pub(super) channel: String,
    /// Every tenant it names.
    pub(super) tenants: Vec<String>,
    /// Whom it is for.
    pub(super) to: String,
    pub(super) at: Option<Timestamp>,
    /// Without the message that a thread begins with.
    pub(super) conversation: String,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Click(Click),
    /// Somebody wrote to the bot where nobody else reads it.
    Words {
        who: Who,
        text: String,
    },
    /// Nothing that anything is done about.
    Other,
}

/// A button of a card, or a card that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Click {
    pub(super) who: Who,
    pub(super) target: Target,
    pub(super) delivery: String,
    pub(super) verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Decide { says: Says, reason: Option<String> },
    Look,
}

/// Reads a body. `None`: it cannot be read.
pub(super) fn read(body: &[u8]) -> Option<Activity> {
    let activity: Value = serde_json::from_slice(body).ok()?;
    let told = |pointer: &str| text(&activity, pointer).to_owned();
    let conversation = told("/conversation/id");
    let tenants =
        ["/conversation/tenantId", "/channelData/tenant/id"].map(|pointer| text(&activity, pointer));
    let tenants = tenants.into_iter().filter(|tenant| !tenant.is_empty()).map(str::to_ascii_lowercase);
    let what = match (text(&activity, "/type"), text(&activity, "/name")) {
        ("invoke", "adaptiveCard/action") => What::Click(click(&activity)?),
        ("message", _) if text(&activity, "/conversation/conversationType") == "personal" => {
            What::Words { who: who(&activity)?, text: told("/text").trim().to_owned() }
        }
        ("", _) => return None,
        _ => What::Other,
    };
    Some(Activity {
        service: told("/serviceUrl"),
        channel: told("/channelId"),
        tenants: tenants.collect(),
        to: told("/recipient/id"),
        at: moment(text(&activity, "/timestamp")),
        conversation: conversation.split(";messageid=").next().unwrap_or_default().to_owned(),
        what,
    })
}

fn click(activity: &Value) -> Option<Click> {
    let target = Target::read(text(activity, &format!("/value/action/data/{ON}")))?;
    let id = Some(text(activity, "/id")).filter(|id| !id.is_empty())?;
    let verb = match text(activity, "/value/action/verb") {
        APPROVE => Verb::Decide { says: Says::Approve, reason: None },
        REJECT => {
            let reason = text(activity, &format!("/value/action/data/{REASON}")).to_owned();
            Verb::Decide { says: Says::Reject, reason: Some(reason) }
        }
        LOOK => Verb::Look,
        _ => return None,
    };
    Some(Click { who: who(activity)?, target, delivery: format!("invoke:{id}"), verb })
}

/// Who it is in the directory of the tenant: what Teams itself calls a user is another for each bot.
fn who(activity: &Value) -> Option<Who> {
    let id = text(activity, "/from/aadObjectId").to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let name = Some(text(activity, "/from/name")).filter(|name| !name.is_empty()).map(str::to_owned);
    (id.len() == 36 && id.bytes().all(plain)).then_some(Who { id, name })
}

/// A moment in UTC, to the second: the Bot Framework writes seven digits behind it.
fn moment(text: &str) -> Option<Timestamp> {
    let (whole, rest) = text.split_at_checked(19)?;
    let fraction = rest.strip_suffix('Z').or_else(|| rest.strip_suffix("+00:00"))?;
    let digits = fraction.strip_prefix('.').unwrap_or(fraction);
    let fine = digits.bytes().all(|byte| byte.is_ascii_digit());
    Timestamp::parse(&format!("{whole}Z")).ok().filter(|_| fine)
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::ApprovalId;
    use serde_json::json;

    const ANA: &str = "8a7b6c5d-0000-4000-8000-0000000000AA";

    fn activity(verb: &str, on: &str) -> Value {
        json!({
            "type": "invoke", "name": "adaptiveCard/action", "id": "f:1", "channelId": "msteams",
            "timestamp": "2026-11-27T07:45:01.2891902Z", "serviceUrl": "https://smba.trafficmanager.net/emea/",
            "from": {"id": "29:1abc", "name": "Ana", "aadObjectId": ANA}, "recipient": {"id": "28:app"},
            "conversation": {"id": "19:x@thread.tacv2;messageid=17", "tenantId": "T"},
            "channelData": {"tenant": {"id": "U"}},
            "value": {"action": {"type": "Action.Execute", "verb": verb, "data": {"on": on, "reason": "no"}},
                "trigger": "manual"},
        })
    }

    fn of(activity: &Value) -> Option<Activity> {
        read(activity.to_string().as_bytes())
    }

    #[test]
    fn a_click_says_who_on_what_and_nothing_else_is_taken_for_one() {
        let approval = ApprovalId::from_parts(1, 2);
        let value = Target::value(approval, "shown");
        let found = of(&activity("approve", &value)).unwrap();
        assert_eq!((&*found.conversation, &*found.to), ("19:x@thread.tacv2", "28:app"));
        assert_eq!(found.tenants, ["t", "u"]);
        assert_eq!(found.at, Timestamp::parse("2026-11-27T07:45:01Z").ok());
        let What::Click(click) = found.what else { panic!("no click") };
        assert_eq!((&*click.who.id, click.who.name.as_deref()), (&*ANA.to_ascii_lowercase(), Some("Ana")));
        assert_eq!(click.target, Target { approval, shown: "shown".into() });
        assert_eq!(click.delivery, "invoke:f:1");
        assert_eq!(click.verb, Verb::Decide { says: Says::Approve, reason: None });
        let verb = |verb: &str| match of(&activity(verb, &value)).map(|found| found.what) {
            Some(What::Click(click)) => Some(click.verb),
            _ => None,
        };
        assert_eq!(verb("reject"), Some(Verb::Decide { says: Says::Reject, reason: Some("no".into()) }));
        assert_eq!(verb("look"), Some(Verb::Look));
        assert_eq!(verb("Approve"), None);
        assert_eq!(of(&activity("approve", "apr_1.x")), None, "no approval's id");
        for (pointer, value) in
            [("/from/aadObjectId", json!("../x")), ("/from", json!({})), ("/id", json!(""))]
        {
            let mut nobody = activity("approve", &Target::value(approval, "shown"));
            *nobody.pointer_mut(pointer).unwrap() = value;
            assert_eq!(of(&nobody), None, "{pointer}");
        }
        assert_eq!(read(b"{}"), None);
        assert_eq!(read(b"["), None);
    }

    #[test]
    fn words_are_heard_where_nobody_else_reads_the_answer() {
        let mut words = activity("", "");
        words["type"] = json!("message");
        words["text"] = json!(" status x\n");
        assert_eq!(of(&words).unwrap().what, What::Other);
        words["conversation"]["conversationType"] = json!("personal");
        let What::Words { text, .. } = of(&words).unwrap().what else { panic!("no words") };
        assert_eq!(text, "status x");
        words["type"] = json!("conversationUpdate");
        assert_eq!(of(&words).unwrap().what, What::Other);
    }

    #[test]
    fn a_moment_is_one_in_utc() {
        for (text, fine) in [
            ("2026-11-27T07:45:01Z", true),
            ("2026-11-27T07:45:01.1+00:00", true),
            ("2026-11-27T07:45:01+01:00", false),
            ("2026-11-27T07:45:01", false),
            ("2026-11-27T07:45:01.xZ", false),
            ("", false),
        ] {
            assert_eq!(moment(text).is_some(), fine, "{text}");
        }
    }
}
