//! Calls to a ticket system: JSON there and back, each under a user's name and secret (RFC 7617). What the system asks of one
//! part of a channel, that it be left alone for a while, holds for every part: telling, watching, and looking up tickets.

use super::{About, Refusal};
use crate::{
    channel::{Again, Failed, Scope},
    outward::{Answer, Outward, retry_after},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign_pep::SecretRef;
use http::{HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The largest answer that is read: a ticket with its changes, a page of notes.
const LARGEST: usize = 4 << 20;
/// How long the system is left alone where it asks for fewer calls and does not say how long.
pub(crate) const REST: Duration = Duration::from_secs(30);
/// Somebody who waits for an answer waits for the end of a rest that is no longer than this.
const WAITS: Duration = Duration::from_secs(5);

/// Where the system is, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) outward: Outward,
    /// Before the paths of its interface, with the slash behind it.
    pub(crate) path: String,
    pub(crate) user: String,
    /// Read for every call.
    pub(crate) secret: SecretRef,
    /// Up to when the system asked to be left alone; one for every part of the channel.
    rest: Arc<Mutex<Option<Instant>>>,
}

impl Calls {
    pub(crate) fn new((outward, path): (Outward, String), user: String, secret: SecretRef) -> Self {
        Self { outward, path, user, secret, rest: Arc::default() }
    }

    /// Waits for the end of a rest that is over in a moment. The error says that it is not.
    pub(crate) async fn rested(&self) -> Result<(), Refusal> {
        match self.left() {
            Some(left) if left > WAITS => Err(alone(left)),
            Some(left) => {
                tokio::time::sleep(left).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// How long it is to be left alone from now on.
    fn left(&self) -> Option<Duration> {
        let until = *self.rest.lock();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero())
    }

    /// Heeds what an answer asks for.
    fn heed(&self, answer: &Answer) {
        let wish = retry_after(&answer.headers);
        let rest = match answer.status {
            StatusCode::TOO_MANY_REQUESTS => wish.unwrap_or(REST),
            StatusCode::SERVICE_UNAVAILABLE => wish.unwrap_or_default(),
            _ => return,
        };
        let (mut until, new) = (self.rest.lock(), Instant::now() + rest);
        *until = Some(until.map_or(new, |until| until.max(new)));
    }

    /// What it answered, whatever that means there. While it is to be left alone nothing is sent.
    pub(crate) async fn send(
        &self,
        method: Method,
        rest: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Refusal> {
        if let Some(left) = self.left() {
            return Err(alone(left));
        }
        let json = HeaderValue::from_static("application/json");
        let mut headers =
            vec![(header::AUTHORIZATION, self.authorization()?), (header::ACCEPT, json.clone())];
        let body = body.map_or_else(Bytes::new, |body| {
            headers.push((header::CONTENT_TYPE, json));
            body.to_string().into()
        });
        let path = format!("{}{rest}", self.path);
        let answer = self.outward.send(method, &path, headers, body, LARGEST).await;
        let answer = answer.map_err(Refusal::channel)?;
        self.heed(&answer);
        Ok(answer)
    }

    fn authorization(&self) -> Result<HeaderValue, Refusal> {
        let secret = self.secret.secret().map_err(|error| Refusal::channel(error.to_string()))?;
        let pair = Zeroizing::new(format!("{}:{}", self.user, secret.trim_end_matches(['\r', '\n'])));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = HeaderValue::from_str(&basic)
            .map_err(|_| Refusal::channel(format!("`{}` holds nothing that can be sent", self.secret)))?;
        basic.set_sensitive(true);
        Ok(basic)
    }
}

fn alone(left: Duration) -> Refusal {
    let why = "the system asks for fewer calls, and is left alone".into();
    Refusal { about: About::Other, failed: Failed { why, scope: Scope::Channel, again: Again::After(left) } }
}
