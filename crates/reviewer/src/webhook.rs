//! Webhooks out: a `CloudEvents` body, signed as Standard Webhooks says, posted to the one configured address.

mod event;
mod sign;

pub(crate) use sign::Secrets;
pub use sign::{Inward, SignatureError, signed, verify};

use crate::{
    channel::{Again, Failed, Letter, Scope, Tell},
    message::Room,
    outward::{Answer, Outward, retry_after},
};
use async_trait::async_trait;
use countersign_engine::outbox::News;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::time::Duration;

/// One receiver of webhooks.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub(crate) outward: Outward,
    /// Never shown: many receivers put a secret into it.
    pub(crate) path: String,
    pub(crate) secrets: Secrets,
    pub(crate) room: Room,
    pub(crate) give_up_after: Duration,
}

#[async_trait]
impl Tell for Webhook {
    fn room(&self, news: &News) -> Room {
        // Later news repeats what was asked, not the bytes; of a step it may be the first that the channel hears.
        let shows_bytes =
            matches!(&*news.kind, "approval.requested" | "approval.round_opened" | "approval.escalated");
        Room { characters: self.room.characters.filter(|_| shows_bytes) }
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let body = event::body(letter);
        let seconds = letter.now.unix_ms() / 1000;
        let signature = self.secrets.sign(&letter.id, seconds, &body).map_err(Failed::channel)?;
        let text = |text: String| {
            HeaderValue::from_str(&text).map_err(|_| Failed::channel("a header cannot be written"))
        };
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json")),
            (HeaderName::from_static("webhook-id"), text(letter.id.clone())?),
            (HeaderName::from_static("webhook-timestamp"), text(seconds.to_string())?),
            (HeaderName::from_static("webhook-signature"), text(signature)?),
        ];
        let answer = self.outward.post(&self.path, headers, body.into(), 0).await.map_err(Failed::channel)?;
        judge(&answer)
    }
}

/// What an answer means: any 2xx is taken, everything else was not.
fn judge(answer: &Answer) -> Result<Option<String>, Failed> {
    let status = answer.status;
    if status.is_success() {
        return Ok(None);
    }
    let why = if status.is_redirection() {
        format!("it answered {}: redirects are not followed", status.as_u16())
    } else {
        format!("it answered {}", status.as_u16())
    };
    let (scope, again) = match status {
        StatusCode::GONE => (Scope::News, Again::No),
        StatusCode::BAD_REQUEST
        | StatusCode::CONFLICT
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => (Scope::News, Again::Yes),
        _ => (Scope::Channel, retry_after(&answer.headers).map_or(Again::Yes, Again::After)),
    };
    Err(Failed { why, scope, again })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    #[test]
    #[rustfmt::skip]
    fn an_answer_says_whether_and_when_to_try_again() {
        let after = |seconds| Again::After(Duration::from_secs(seconds));
        for (status, wish, want) in [
            (200, None, None),
            (204, None, None),
            (302, None, Some((Scope::Channel, Again::Yes))),
            (400, None, Some((Scope::News, Again::Yes))),
            (401, None, Some((Scope::Channel, Again::Yes))),
            (410, None, Some((Scope::News, Again::No))),
            (413, None, Some((Scope::News, Again::Yes))),
            (429, Some("7"), Some((Scope::Channel, after(7)))),
            (503, Some("999999999"), Some((Scope::Channel, after(3600)))),
            (503, Some("Wed, 21 Oct 2026 07:28:00 GMT"), Some((Scope::Channel, Again::Yes))),
            (500, None, Some((Scope::Channel, Again::Yes))),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(wish.map(|wish| (header::RETRY_AFTER, HeaderValue::from_static(wish))));
            let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() };
            let got = judge(&answer).err().map(|failed| (failed.scope, failed.again));
            assert_eq!(got, want, "{status} {wish:?}");
        }
    }
}
