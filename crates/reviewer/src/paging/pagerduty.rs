//! `PagerDuty`: an incident for each approval that waits, through one integration of one service.
//!
//! Events API v2: <https://developer.pagerduty.com/docs/events-api-v2/overview/>.

mod event;

pub(crate) use event::Severity;

use super::{Page, Pager};
use crate::{
    backoff,
    channel::{Again, Failed, Gathering, Letter, Scope},
    outward::{Answer, Outward, retry_after},
};
use async_trait::async_trait;
use countersign_pep::SecretRef;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use std::time::Duration;

/// The largest answer that is read: a status and a few errors.
const LARGEST: usize = 16 << 10;
/// How long it is left alone where it does not say how long.
const REST: Duration = Duration::from_secs(30);

/// One integration of one service.
#[derive(Clone, Debug)]
pub(crate) struct PagerDuty {
    pub(crate) outward: Outward,
    /// Where events are taken.
    pub(crate) path: String,
    pub(crate) routing_key: SecretRef,
    pub(crate) severity: Severity,
}

#[async_trait]
impl Pager for PagerDuty {
    fn prefix(&self) -> &'static str {
        "countersign/"
    }

    fn prefix_of_several(&self) -> &'static str {
        "countersign/together/"
    }

    async fn call(&self, letter: &Letter, key: &str, _page: Page) -> Result<(), Failed> {
        let severity = if letter.message.state == "test" { Severity::Info } else { self.severity };
        self.send(|routing| event::trigger(letter, routing, key, severity)).await
    }

    async fn call_together(&self, gathering: &Gathering, key: &str) -> Result<(), Failed> {
        self.send(|routing| event::several(gathering, routing, key, self.severity)).await
    }

    async fn end(&self, key: &str, _how: &str) -> Result<(), Failed> {
        self.send(|routing| event::resolve(routing, key)).await
    }
}

impl PagerDuty {
    /// Sends the event that is made with the key of the integration, which is read for each.
    async fn send(&self, event: impl FnOnce(&str) -> Value) -> Result<(), Failed> {
        let body = {
            let key = self.routing_key.secret().map_err(|error| Failed::channel(error.to_string()))?;
            event(key.trim()).to_string()
        };
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let answer = self.outward.post(&self.path, headers, body.into(), LARGEST).await;
        judge(&answer.map_err(Failed::channel)?)
    }
}

/// What an answer means. Nothing it says is repeated.
fn judge(answer: &Answer) -> Result<(), Failed> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let wish = retry_after(&answer.headers);
    let channel = |why: String, again| Failed { why, scope: Scope::Channel, again };
    Err(match status {
        StatusCode::BAD_REQUEST if is_about_the_key(&answer.body) => channel(
            "PagerDuty does not take the routing key: it is that of an Events API v2 integration, 32 characters".into(),
            Again::Yes,
        ),
        // As PagerDuty says: not to be sent again.
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Failed {
            why: "PagerDuty does not take the event as it is".into(),
            scope: Scope::News,
            again: Again::No,
        },
        StatusCode::TOO_MANY_REQUESTS => {
            channel("PagerDuty asks for fewer events".into(), Again::After(wish.unwrap_or(REST)))
        }
        status => channel(
            format!("PagerDuty answered {}", status.as_u16()),
            wish.map_or(Again::Yes, |wish| Again::After(wish.min(backoff::WISH))),
        ),
    })
}

/// Whether a refusal is about the key of the integration, which is the same in every event.
fn is_about_the_key(body: &[u8]) -> bool {
    let Ok(said) = serde_json::from_slice::<Value>(body) else { return false };
    let errors = said.get("errors").and_then(Value::as_array);
    let about = |error: &str| error.contains("routing_key") || error.to_lowercase().contains("routing key");
    errors.into_iter().flatten().filter_map(Value::as_str).any(about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    #[test]
    #[rustfmt::skip]
    fn an_answer_says_whether_and_when_to_try_again() {
        use {Again as G, Scope as S};
        let after = |seconds| G::After(Duration::from_secs(seconds));
        let key = r#"{"status":"invalid event","errors":["Length of 'routing_key' is incorrect (should be 32 characters)"]}"#;
        for (status, wish, body, want) in [
            (202, None, r#"{"status":"success"}"#, None),
            (400, None, key, Some((S::Channel, G::Yes))),
            (400, None, r#"{"errors":["Invalid routing key"]}"#, Some((S::Channel, G::Yes))),
            (400, None, r#"{"errors":["made up"]}"#, Some((S::News, G::No))),
            (400, None, "made up", Some((S::News, G::No))),
            (413, None, "", Some((S::News, G::No))),
            (429, None, "", Some((S::Channel, after(30)))),
            (429, Some("7"), "", Some((S::Channel, after(7)))),
            (302, None, "", Some((S::Channel, G::Yes))),
            (404, None, "", Some((S::Channel, G::Yes))),
            (503, Some("3"), "made up", Some((S::Channel, after(3)))),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(wish.map(|wish| (header::RETRY_AFTER, HeaderValue::from_static(wish))));
            let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from_static(body.as_bytes()));
            let failed = judge(&Answer { status, headers, body }).err();
            assert!(!failed.as_ref().is_some_and(|failed| failed.why.contains("made up")), "{failed:?}");
            assert_eq!(failed.map(|failed| (failed.scope, failed.again)), want, "{status}");
        }
    }
}
