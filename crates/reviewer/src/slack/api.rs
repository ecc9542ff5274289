//! Calls to Slack's Web API, and what its refusals mean. Slack answers 200 whether it did something or not; `ok` says which.

use crate::{
    channel::{Again, Failed, Scope},
    outward::{Answer, Outward, retry_after},
};
use bytes::Bytes;
use countersign_pep::{Origin, SecretRef};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use std::time::Duration;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// The largest answer that is read: a page of messages, each with all its blocks.
const LARGEST: usize = 8 << 20;
/// How long it is left alone where it does not say how long.
const REST: Duration = Duration::from_secs(30);

/// Where the Web API is, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) outward: Outward,
    /// Before the name of a method, with the slash behind it: `/api/`.
    pub(crate) path: String,
    pub(crate) token: SecretRef,
}

/// What a call sends.
#[derive(Clone, Debug)]
pub(super) enum Body<'b> {
    Json(&'b Value),
    /// Methods that read take no JSON everywhere.
    Form(&'b [(&'b str, &'b str)]),
}

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) about: About,
    pub(super) failed: Failed,
}

/// What a refusal is about, where somebody can do something about it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The message that was to be changed or answered is not there, or is not ours.
    Gone,
    /// It was posted before under the same id, and deleted since.
    Deleted,
    /// The message is larger than Slack takes.
    Size,
    /// The app may not do this.
    Scope,
    /// The channel or conversation is not there, or takes nothing of the app's.
    Place,
    Other,
}

impl Api {
    /// Calls a method: its answer, where it says `ok`.
    pub(super) async fn call(&self, method: &str, body: Body<'_>) -> Result<Value, Refusal> {
        let other = |failed| Refusal { about: About::Other, failed };
        let secret = self.token.secret().map_err(|error| other(Failed::channel(error.to_string())))?;
        let bearer = Zeroizing::new(format!("Bearer {}", *secret));
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| other(Failed::channel(format!("`{}` is no token", self.token))))?;
        bearer.set_sensitive(true);
        let (kind, body) = match body {
            Body::Json(json) => ("application/json; charset=utf-8", json.to_string()),
            Body::Form(pairs) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                ("application/x-www-form-urlencoded", form.extend_pairs(pairs).finish())
            }
        };
        let headers =
            vec![(header::AUTHORIZATION, bearer), (header::CONTENT_TYPE, HeaderValue::from_static(kind))];
        let path = format!("{}{method}", self.path);
        let answer = self.outward.post(&path, headers, Bytes::from(body), LARGEST).await;
        judge(method, &answer.map_err(|why| other(Failed::channel(why)))?)
    }

    /// Where one user is answered: an address that came with a request, as long as it is Slack's own, beside the Web API
    /// or at `hooks.` before its host.
    pub(super) fn hook(&self, address: &str) -> Option<(Outward, String)> {
        let (origin, url) = Origin::read("", address, None, "").ok()?;
        let api = &self.outward.origin;
        let own = origin.host == api.host || origin.host.strip_prefix("hooks.") == Some(&api.host);
        if !own || origin.tls != api.tls || origin.port != api.port || url.query().is_some() {
            return None;
        }
        Some((Outward { origin, ..self.outward.clone() }, url.path().to_owned()))
    }
}

fn judge(method: &str, answer: &Answer) -> Result<Value, Refusal> {
    let channel = |why: String, again| Refusal {
        about: About::Other,
        failed: Failed { why, scope: Scope::Channel, again },
    };
    let asked = retry_after(&answer.headers);
    match answer.status {
        StatusCode::OK => {}
        StatusCode::TOO_MANY_REQUESTS => {
            let why = format!("Slack asks for fewer calls of `{method}`");
            return Err(channel(why, Again::After(asked.unwrap_or(REST))));
        }
        status => {
            let why = format!("it answered {} to `{method}`", status.as_u16());
            return Err(channel(why, asked.map_or(Again::Yes, Again::After)));
        }
    }
    let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else {
        return Err(channel(format!("it does not answer `{method}` as Slack's Web API does"), Again::Yes));
    };
    if value.get("ok") == Some(&Value::Bool(true)) {
        return Ok(value);
    }
    let error = value.get("error").and_then(Value::as_str).unwrap_or_default();
    let (about, scope, words) = meaning(error);
    let again = match error {
        "ratelimited" | "rate_limited" => Again::After(asked.unwrap_or(REST)),
        _ => Again::Yes,
    };
    Err(Refusal { about, failed: Failed { why: format!("Slack refused `{method}`: {words}"), scope, again } })
}

/// What an error of the Web API means, in our words. Those unknown here are taken to be about one message: nothing else
/// waits for it then.
fn meaning(error: &str) -> (About, Scope, &'static str) {
    use {About as A, Scope as S};
    match error {
        "invalid_auth" | "not_authed" => (A::Other, S::Channel, "the token is not valid (`invalid_auth`)"),
        "account_inactive" | "token_revoked" | "token_expired" => {
            (A::Other, S::Channel, "the token is revoked or has expired (`token_revoked`)")
        }
        "not_allowed_token_type" => (
            A::Scope,
            S::Channel,
            "this takes another kind of token (`not_allowed_token_type`): `xoxb-` posts, `xapp-` connects",
        ),
        "missing_scope" | "no_permission" | "access_denied" => {
            (A::Scope, S::Channel, "the app lacks a scope (`missing_scope`): compare it with the manifest")
        }
        "team_access_not_granted"
        | "forbidden_team"
        | "team_disabled"
        | "user_removed_from_team"
        | "org_login_required"
        | "ekm_access_denied"
        | "accesslimited"
        | "team_added_to_org" => {
            (A::Other, S::Channel, "the workspace does not let the app in (`access_denied`)")
        }
        "link_disabled" => {
            (A::Other, S::Channel, "Socket Mode is switched off in the app's settings (`link_disabled`)")
        }
        "channel_not_found" | "channel_type_not_supported" | "method_not_supported_for_channel_type" => (
            A::Place,
            S::Channel,
            "there is no such channel, or the app does not see it (`channel_not_found`)",
        ),
        "not_in_channel" => {
            (A::Place, S::Channel, "the app is not in the channel (`not_in_channel`): invite it there")
        }
        "is_archived" => (A::Place, S::Channel, "the channel is archived (`is_archived`)"),
        "restricted_action"
        | "restricted_action_read_only_channel"
        | "restricted_action_thread_only_channel"
        | "restricted_action_thread_locked"
        | "restricted_action_non_threadable_channel" => {
            (A::Place, S::Channel, "a setting of the workspace forbids it (`restricted_action`)")
        }
        "message_limit_exceeded" => {
            (A::Other, S::Channel, "the workspace is full (`message_limit_exceeded`)")
        }
        "ratelimited" | "rate_limited" => {
            (A::Other, S::Channel, "it asks for fewer messages (`ratelimited`)")
        }
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
            (A::Other, S::Channel, "it has trouble of its own (`internal_error`)")
        }
        "user_not_found" | "user_disabled" | "cannot_dm_bot" => {
            (A::Other, S::News, "this user is not there any more (`user_disabled`)")
        }
        "message_not_found" | "thread_not_found" | "cant_update_message" | "edit_window_closed" => {
            (A::Gone, S::News, "the message before it is gone (`message_not_found`)")
        }
        "duplicate_message_not_found" | "duplicate_channel_not_found" => {
            (A::Deleted, S::News, "it was posted before and deleted (`duplicate_message_not_found`)")
        }
        "msg_blocks_too_long"
        | "msg_too_long"
        | "too_many_blocks"
        | "invalid_blocks"
        | "invalid_blocks_format" => {
            (A::Size, S::News, "the message is too long or not taken as it is (`msg_blocks_too_long`)")
        }
        _ => (A::Other, S::News, "for a reason not known here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn said(status: u16, wish: Option<&'static str>, body: &'static str) -> Result<Value, Refusal> {
        let mut headers = HeaderMap::new();
        headers.extend(wish.map(|wish| (header::RETRY_AFTER, HeaderValue::from_static(wish))));
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        };
        judge("chat.postMessage", &answer)
    }

    #[test]
    #[rustfmt::skip]
    fn a_refusal_says_what_it_is_about_and_when_to_try_again() {
        use {About as A, Again as G, Scope as S};
        let after = |seconds| G::After(Duration::from_secs(seconds));
        for (status, wish, body, want) in [
            (200, None, r#"{"ok":false,"error":"invalid_auth"}"#, (A::Other, S::Channel, G::Yes)),
            (200, None, r#"{"ok":false,"error":"channel_not_found"}"#, (A::Place, S::Channel, G::Yes)),
            (200, None, r#"{"ok":false,"error":"missing_scope"}"#, (A::Scope, S::Channel, G::Yes)),
            (200, None, r#"{"ok":false,"error":"msg_blocks_too_long"}"#, (A::Size, S::News, G::Yes)),
            (200, None, r#"{"ok":false,"error":"message_not_found"}"#, (A::Gone, S::News, G::Yes)),
            (200, None, r#"{"ok":false,"error":"duplicate_message_not_found"}"#, (A::Deleted, S::News, G::Yes)),
            (200, None, r#"{"ok":false,"error":"ratelimited"}"#, (A::Other, S::Channel, after(30))),
            (200, None, r#"{"ok":false,"error":"<!channel> made up"}"#, (A::Other, S::News, G::Yes)),
            (200, None, r#"{"error":"ok"}"#, (A::Other, S::News, G::Yes)),
            (200, None, "<html>", (A::Other, S::Channel, G::Yes)),
            (429, Some("7"), "", (A::Other, S::Channel, after(7))),
            (429, None, "", (A::Other, S::Channel, after(30))),
            (302, None, "", (A::Other, S::Channel, G::Yes)),
            (503, Some("3"), "", (A::Other, S::Channel, after(3))),
        ] {
            let refusal = said(status, wish, body).unwrap_err();
            assert_eq!((refusal.about, refusal.failed.scope, refusal.failed.again), want, "{status} {body}");
            assert!(!refusal.failed.why.contains("made up"), "nothing the other side said: {}", refusal.failed.why);
        }
        assert!(said(200, None, r#"{"ok":true,"ts":"1.2"}"#).is_ok());
    }

    #[test]
    fn only_slack_itself_is_answered() {
        let api = |base: &str| {
            let (origin, _) = Origin::read("", base, None, "").unwrap();
            let token = SecretRef::Environment("TOKEN".into());
            Api { outward: Outward { origin, tls: None, time_limit: REST }, path: "/api/".into(), token }
        };
        for (base, address, fine) in [
            ("https://slack.com/api/", "https://hooks.slack.com/actions/T1/2/x", true),
            ("https://slack.com/api/", "https://slack.com/x", true),
            ("https://slack.com/api/", "http://hooks.slack.com/actions/T1/2/x", false),
            ("https://slack.com/api/", "https://hooks.slack.com:8443/x", false),
            ("https://slack.com/api/", "https://hooks.slack.com.evil.example/x", false),
            ("https://slack.com/api/", "https://evil.example/hooks.slack.com", false),
            ("https://slack.com/api/", "https://evil.hooks.slack.com/x", false),
            ("https://slack.com/api/", "https://user@hooks.slack.com/x", false),
            ("https://slack.com/api/", "http://127.0.0.1/x", false),
            ("http://localhost:9/api/", "http://localhost:9/hooks/1", true),
            ("http://localhost:9/api/", "http://localhost:10/hooks/1", false),
            ("https://slack.com/api/", "", false),
        ] {
            assert_eq!(api(base).hook(address).is_some(), fine, "{base} {address}");
        }
    }
}
