//! Calls to the Bot Connector, and what its refusals mean
//! (<https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference>).

use super::login::Login;
use crate::{
    channel::{Again, Failed, Scope},
    outward::{Answer, Outward, retry_after},
};
use bytes::Bytes;
use countersign_core::Timestamp;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use std::time::Duration;
use url::form_urlencoded;

/// The largest answer that is read: ids and errors.
const LARGEST: usize = 64 << 10;
/// How long it is left alone where it does not say how long.
const REST: Duration = Duration::from_secs(10);

/// Where the connector is, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) outward: Outward,
    /// Before `v3/`, with the slash behind it.
    pub(crate) path: String,
    pub(crate) login: Login,
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
    /// The message that was to be changed or answered is not there.
    Gone,
    /// The message is larger than Teams takes, or not taken as it is.
    Size,
    Other,
}

/// What a call is made to.
#[derive(Clone, Debug)]
pub(super) enum To<'t> {
    /// A new conversation: a thread in a channel.
    Begin,
    /// Another message of a conversation.
    Say(&'t str),
    /// A message that is there: conversation and activity.
    Change(&'t str, &'t str),
}

impl To<'_> {
    fn path(&self) -> String {
        let part = |id: &str| form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>();
        match self {
            Self::Begin => "v3/conversations".into(),
            Self::Say(conversation) => format!("v3/conversations/{}/activities", part(conversation)),
            Self::Change(conversation, activity) => {
                format!("v3/conversations/{}/activities/{}", part(conversation), part(activity))
            }
        }
    }

    const fn method(&self) -> Method {
        match self {
            Self::Begin | Self::Say(_) => Method::POST,
            Self::Change(..) => Method::PUT,
        }
    }
}

impl Api {
    /// Makes a call with the bot's token; where that is refused, once more with a new one.
    pub(super) async fn call(&self, now: Timestamp, to: To<'_>, body: &Value) -> Result<Value, Refusal> {
        let body = Bytes::from(body.to_string());
        let (bearer, answer) = self.send(now, &to, &body).await?;
        let answer = if answer.status == StatusCode::UNAUTHORIZED {
            self.login.forget(&bearer).await;
            self.send(now, &to, &body).await?.1
        } else {
            answer
        };
        judge(&to, &answer)
    }

    async fn send(
        &self,
        now: Timestamp,
        to: &To<'_>,
        body: &Bytes,
    ) -> Result<(HeaderValue, Answer), Refusal> {
        let other = |failed| Refusal { about: About::Other, failed };
        let bearer = self.login.bearer(now).await.map_err(other)?;
        let kind = HeaderValue::from_static("application/json; charset=utf-8");
        let headers = vec![(header::AUTHORIZATION, bearer.clone()), (header::CONTENT_TYPE, kind)];
        let path = format!("{}{}", self.path, to.path());
        let answer = self.outward.send(to.method(), &path, headers, body.clone(), LARGEST).await;
        Ok((bearer, answer.map_err(|why| other(Failed::channel(why)))?))
    }
}

fn judge(to: &To<'_>, answer: &Answer) -> Result<Value, Refusal> {
    let wish = retry_after(&answer.headers);
    let channel = |why: String, again| Refusal {
        about: About::Other,
        failed: Failed { why, scope: Scope::Channel, again },
    };
    let news = |about, why: &str| Refusal {
        about,
        failed: Failed { why: why.into(), scope: Scope::News, again: Again::Yes },
    };
    let said = serde_json::from_slice::<Value>(&answer.body);
    let code = said.as_ref().ok().and_then(|said| said.pointer("/error/code")?.as_str()).unwrap_or_default();
    let soon = wish.map_or(Again::Yes, Again::After);
    let thread = match to {
        To::Begin => false,
        To::Say(conversation) => conversation.contains(";messageid="),
        To::Change(..) => true,
    };
    Err(match answer.status {
        status if status.is_success() => return Ok(said.unwrap_or(Value::Null)),
        // 412 is a limit too (Teams, "Optimize your bot with rate limiting").
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PRECONDITION_FAILED => {
            channel("Teams asks for fewer messages".into(), Again::After(wish.unwrap_or(REST)))
        }
        StatusCode::UNAUTHORIZED => {
            channel("Teams does not take the bot's token (`Unauthorized`)".into(), soon)
        }
        StatusCode::FORBIDDEN => channel(format!("Teams refused: {}", forbidden(code)), soon),
        StatusCode::NOT_FOUND if thread => {
            news(About::Gone, "the message before it is gone (`ActivityNotFound`)")
        }
        StatusCode::NOT_FOUND => {
            let why = "there is no such conversation, or the bot is not in it (`ConversationNotFound`)";
            channel(format!("Teams refused: {why}"), soon)
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            news(About::Size, "Teams refused: the message is too large (`MessageSizeTooBig`)")
        }
        StatusCode::BAD_REQUEST if code == "MessageSizeTooBig" => {
            news(About::Size, "Teams refused: the message is too large (`MessageSizeTooBig`)")
        }
        StatusCode::BAD_REQUEST => {
            news(About::Size, "Teams refused: the message is not taken as it is (`BadArgument`)")
        }
        status => channel(format!("Teams answered {}", status.as_u16()), soon),
    })
}

fn forbidden(code: &str) -> &'static str {
    match code {
        "BotNotInConversationRoster" => {
            "the bot is not in the conversation (`BotNotInConversationRoster`): add the app there"
        }
        "BotDisabledByAdmin" => "an administrator has disabled the app (`BotDisabledByAdmin`)",
        "MessageWritesBlocked" => "the bot was blocked or taken out (`MessageWritesBlocked`)",
        _ => "the bot may not write there (`Forbidden`)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    #[rustfmt::skip]
    fn a_refusal_says_what_it_is_about_and_when_to_try_again() {
        use {About as A, Again as G, Scope as S};
        let after = |seconds| G::After(Duration::from_secs(seconds));
        let (thread, line) = (To::Change("19:x@thread.tacv2", "1"), To::Say("19:x@thread.tacv2;messageid=1"));
        for (to, status, wish, body, want) in [
            (&To::Begin, 401, None, "", (A::Other, S::Channel, G::Yes)),
            (&To::Begin, 403, None, r#"{"error":{"code":"BotNotInConversationRoster","message":"made up"}}"#, (A::Other, S::Channel, G::Yes)),
            (&To::Begin, 404, None, r#"{"error":{"code":"ConversationNotFound"}}"#, (A::Other, S::Channel, G::Yes)),
            (&To::Say("a:1"), 404, None, "", (A::Other, S::Channel, G::Yes)),
            (&thread, 404, None, "", (A::Gone, S::News, G::Yes)),
            (&line, 404, None, "", (A::Gone, S::News, G::Yes)),
            (&thread, 413, None, "", (A::Size, S::News, G::Yes)),
            (&thread, 400, None, r#"{"error":{"code":"MessageSizeTooBig"}}"#, (A::Size, S::News, G::Yes)),
            (&thread, 400, None, r#"{"error":{"code":"made up"}}"#, (A::Size, S::News, G::Yes)),
            (&thread, 429, Some("7"), "", (A::Other, S::Channel, after(7))),
            (&thread, 412, None, "", (A::Other, S::Channel, after(10))),
            (&thread, 502, None, "made up", (A::Other, S::Channel, G::Yes)),
            (&thread, 503, Some("3"), "", (A::Other, S::Channel, after(3))),
            (&thread, 302, None, "", (A::Other, S::Channel, G::Yes)),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(wish.map(|wish| (header::RETRY_AFTER, HeaderValue::from_static(wish))));
            let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from_static(body.as_bytes()));
            let refusal = judge(to, &Answer { status, headers, body }).unwrap_err();
            assert_eq!((refusal.about, refusal.failed.scope, refusal.failed.again), want, "{status}");
            assert!(!refusal.failed.why.contains("made up"), "nothing the other side said: {}", refusal.failed.why);
        }
    }

    #[test]
    fn an_id_is_one_part_of_the_path_whatever_it_holds() {
        for (to, path) in [
            (To::Begin, "v3/conversations"),
            (To::Say("19:a@thread.v2/../x"), "v3/conversations/19%3Aa%40thread.v2%2F..%2Fx/activities"),
            (
                To::Change("19:a;messageid=1", "1?x"),
                "v3/conversations/19%3Aa%3Bmessageid%3D1/activities/1%3Fx",
            ),
        ] {
            assert_eq!(to.path(), path);
        }
    }
}
