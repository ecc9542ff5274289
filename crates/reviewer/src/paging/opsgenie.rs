//! Opsgenie: an alert for each approval that waits, through one API integration. What it takes it works on later, so that its own
//! word of what became of a request is asked for.
//!
//! Alert API: <https://docs.opsgenie.com/docs/alert-api>. The integration events of Jira Service Management, which comes after
//! Opsgenie, have the same shape at another address.

mod alert;

pub(crate) use alert::{Priority, Responder};

use super::{Page, Pager, text};
use crate::{
    backoff,
    channel::{Again, Failed, Gathering, Letter, Scope},
    outward::{Answer, Outward, retry_after},
};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_pep::SecretRef;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use std::time::Duration;
use zeroize::Zeroizing;

/// The largest answer that is read: one alert.
const LARGEST: usize = 256 << 10;
/// How long it is left alone where it does not say how long.
const REST: Duration = Duration::from_secs(30);
/// How often it is asked what became of a request, and how long after it was sent: twice as long each time.
const LOOKS: u32 = 6;
const LOOK_AFTER: Duration = Duration::from_millis(200);
/// The longest name of a request that is believed.
const REQUEST_ID: usize = 128;

/// One API integration.
#[derive(Clone, Debug)]
pub(crate) struct Opsgenie {
    pub(crate) outward: Outward,
    /// Before `/v2`; without a slash behind it.
    pub(crate) path: String,
    pub(crate) api_key: SecretRef,
    pub(crate) priority: Priority,
    /// Whom an alert is for beside those of the integration's team.
    pub(crate) responders: Vec<Responder>,
}

/// What became of a request that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Done,
    /// It was looked at, and not done.
    Refused,
    /// The key may not ask: that it was taken is all that is known.
    Unsaid,
}

#[async_trait]
impl Pager for Opsgenie {
    // Their keys stand in paths.
    fn prefix(&self) -> &'static str {
        "countersign-"
    }

    fn prefix_of_several(&self) -> &'static str {
        "countersign-together-"
    }

    async fn call(&self, letter: &Letter, key: &str, page: Page) -> Result<(), Failed> {
        let priority = if letter.message.state == "test" { Priority::P5 } else { self.priority };
        self.create(&alert::of(letter, key, priority, &self.responders)).await?;
        if page == Page::Open {
            // An alert that is open counts once more, and says of itself what it said: what is new is a note.
            let note = alert::note(&text::step(letter));
            let answer = self.post(&format!("{}/notes?identifierType=alias", at(key)), &note).await?;
            judge(&answer)?;
        }
        Ok(())
    }

    async fn call_together(&self, gathering: &Gathering, key: &str) -> Result<(), Failed> {
        self.create(&alert::of_several(gathering, key, self.priority, &self.responders)).await
    }

    async fn end(&self, key: &str, how: &str) -> Result<(), Failed> {
        let answer = self.post(&format!("{}/close?identifierType=alias", at(key)), &alert::note(how)).await?;
        match self.became(&answer).await? {
            Became::Refused if self.is_open(key).await? => {
                Err(of_news("Opsgenie did not close the alert", Again::Yes))
            }
            // Where it was refused, somebody may have closed it, or it never was.
            Became::Done | Became::Unsaid | Became::Refused => Ok(()),
        }
    }
}

impl Opsgenie {
    async fn create(&self, alert: &Value) -> Result<(), Failed> {
        let answer = self.post("/v2/alerts", alert).await?;
        match self.became(&answer).await? {
            Became::Done | Became::Unsaid => Ok(()),
            Became::Refused => Err(of_news(
                "Opsgenie took the request and made no alert of it: look at the integration's filters and its log",
                Again::Yes,
            )),
        }
    }

    /// What became of the request that was answered so.
    async fn became(&self, answer: &Answer) -> Result<Became, Failed> {
        judge(answer)?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let plain = |id: &&str| {
            let fits = (1..=REQUEST_ID).contains(&id.len());
            fits && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let id = said.get("requestId").and_then(Value::as_str).filter(plain);
        let id = id.ok_or_else(|| Failed::channel("it does not answer as Opsgenie's Alert API does"))?;
        let mut pause = LOOK_AFTER;
        for _ in 0..LOOKS {
            let looked = self.send(Method::GET, &format!("/v2/alerts/requests/{id}"), None).await?;
            match looked.status {
                // It was not worked on yet.
                StatusCode::NOT_FOUND => {}
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(Became::Unsaid),
                _ => {
                    judge(&looked)?;
                    let said: Value = serde_json::from_slice(&looked.body).unwrap_or_default();
                    let done = said.pointer("/data/isSuccess").or_else(|| said.pointer("/data/success"));
                    return match done.and_then(Value::as_bool) {
                        Some(true) => Ok(Became::Done),
                        Some(false) => Ok(Became::Refused),
                        None => Err(Failed::channel("it does not answer as Opsgenie's Alert API does")),
                    };
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        Err(Failed::channel("Opsgenie took a request and does not say what became of it"))
    }

    async fn is_open(&self, key: &str) -> Result<bool, Failed> {
        let answer = self.send(Method::GET, &format!("{}?identifierType=alias", at(key)), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        judge(&answer)?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(said.pointer("/data/status").and_then(Value::as_str) != Some("closed"))
    }

    async fn post(&self, rest: &str, body: &Value) -> Result<Answer, Failed> {
        self.send(Method::POST, rest, Some(body)).await
    }

    /// One call under the key, which is read for each.
    async fn send(&self, method: Method, rest: &str, body: Option<&Value>) -> Result<Answer, Failed> {
        let json = HeaderValue::from_static("application/json");
        let mut headers =
            vec![(header::AUTHORIZATION, genie(&self.api_key)?), (header::ACCEPT, json.clone())];
        let body = body.map_or_else(Bytes::new, |body| {
            headers.push((header::CONTENT_TYPE, json));
            body.to_string().into()
        });
        let path = format!("{}{rest}", self.path);
        self.outward.send(method, &path, headers, body, LARGEST).await.map_err(Failed::channel)
    }
}

/// The key as it is presented.
pub(super) fn genie(key: &SecretRef) -> Result<HeaderValue, Failed> {
    let secret = key.secret().map_err(|error| Failed::channel(error.to_string()))?;
    let text = Zeroizing::new(format!("GenieKey {}", secret.trim()));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Failed::channel(format!("`{key}` holds nothing that can be sent")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where the alert with this key is.
fn at(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let path: String = key
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("/v2/alerts/{path}")
}

fn of_news(why: &str, again: Again) -> Failed {
    Failed { why: why.into(), scope: Scope::News, again }
}

/// How long it asks to be left alone: Opsgenie says so in a header of its own.
pub(super) fn wish(headers: &HeaderMap) -> Option<Duration> {
    let own = || headers.get("x-ratelimit-period-in-sec")?.to_str().ok()?.trim().parse().ok();
    retry_after(headers).or_else(|| own().map(|seconds| Duration::from_secs(seconds).min(backoff::WISH)))
}

/// What an answer means. Nothing it says is repeated.
pub(super) fn judge(answer: &Answer) -> Result<(), Failed> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let wish = wish(&answer.headers);
    let channel = |why: String, again| Failed { why, scope: Scope::Channel, again };
    let soon = wish.map_or(Again::Yes, |wish| Again::After(wish.min(backoff::WISH)));
    Err(match status {
        StatusCode::UNAUTHORIZED => {
            channel("Opsgenie does not take the API key: it is that of an API integration".into(), soon)
        }
        StatusCode::PAYMENT_REQUIRED => channel("the account's plan does not have this".into(), soon),
        StatusCode::FORBIDDEN => {
            channel("the API key may not do this: look at the integration's access".into(), soon)
        }
        StatusCode::NOT_FOUND => channel("there is no such thing at this address".into(), soon),
        StatusCode::UNPROCESSABLE_ENTITY => refused(&answer.body),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
            of_news("Opsgenie does not take the alert as it is", Again::No)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            channel("Opsgenie asks for fewer calls".into(), Again::After(wish.unwrap_or(REST)))
        }
        status => channel(format!("Opsgenie answered {}", status.as_u16()), soon),
    })
}

/// A 422: which field it is about says whether others would be refused as well.
fn refused(body: &[u8]) -> Failed {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = |field: &str| {
        let fields = said.get("errors").and_then(Value::as_object);
        fields.is_some_and(|fields| fields.keys().any(|key| key.starts_with(field)))
    };
    let message = said.get("message").and_then(Value::as_str).unwrap_or_default();
    if named("responders") {
        return Failed::channel("Opsgenie does not take the `responders`");
    }
    if said.get("errors").is_none() && message.to_lowercase().contains("key") {
        return Failed::channel("Opsgenie does not take the API key: it is that of an API integration");
    }
    of_news("Opsgenie does not take the alert as it is", Again::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn an_answer_says_whether_and_when_to_try_again() {
        use {Again as G, Scope as S};
        let after = |seconds| G::After(Duration::from_secs(seconds));
        let own = "x-ratelimit-period-in-sec";
        for (status, header, body, want) in [
            (202, None, "{}", None),
            (401, None, "made up", Some((S::Channel, G::Yes))),
            (402, None, "", Some((S::Channel, G::Yes))),
            (403, None, r#"{"message":"made up","code":40301}"#, Some((S::Channel, G::Yes))),
            (404, None, "", Some((S::Channel, G::Yes))),
            (422, None, r#"{"message":"made up","errors":{"message":"made up"}}"#, Some((S::News, G::No))),
            (422, None, r#"{"message":"made up","errors":{"responders#type":"made up"}}"#, Some((S::Channel, G::Yes))),
            (422, None, r#"{"message":"Key format is not valid!"}"#, Some((S::Channel, G::Yes))),
            (422, None, "made up", Some((S::News, G::No))),
            (400, None, "made up", Some((S::News, G::No))),
            (413, None, "", Some((S::News, G::No))),
            (429, None, "", Some((S::Channel, after(30)))),
            (429, Some((own, "60")), "", Some((S::Channel, after(60)))),
            (429, Some(("retry-after", "7")), "", Some((S::Channel, after(7)))),
            (429, Some((own, "999999")), "", Some((S::Channel, after(3600)))),
            (429, Some((own, "soon")), "", Some((S::Channel, after(30)))),
            (302, None, "", Some((S::Channel, G::Yes))),
            (503, Some(("retry-after", "3")), "made up", Some((S::Channel, after(3)))),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            }));
            let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from_static(body.as_bytes()));
            let failed = judge(&Answer { status, headers, body }).err();
            assert!(!failed.as_ref().is_some_and(|failed| failed.why.contains("made up")), "{failed:?}");
            assert_eq!(failed.map(|failed| (failed.scope, failed.again)), want, "{status} {header:?}");
        }
    }

    #[test]
    fn a_key_is_one_part_of_a_path() {
        assert_eq!(at("countersign-apr_01"), "/v2/alerts/countersign-apr_01");
        assert_eq!(at("a/../b?c#d e"), "/v2/alerts/a%2F..%2Fb%3Fc%23d%20e");
    }
}
